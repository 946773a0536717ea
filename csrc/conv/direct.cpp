// The direct convolution: packs weights that will serve many tasks, then runs the plan's tasks. What a task does
// depends on its orientation: channel_lanes.cpp, pixel_lanes.cpp, raw_pixels.cpp.
#include "direct.hpp"
#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "task.hpp"

namespace fastconv {

template <class T>
void direct_forward(const Problem& p, const DirectPlan& plan, const Operands<T>& a, const T* packed) {
  const Index tasks = plan.tasks(p);
  if (tasks == 0) return;
  const Kernels<T>& k = kernels().of<T>();
  const bool pack = packed == nullptr && plan.shared_weights;
  const RecycledBlock shared(pack ? plan.shared : 0);
  if (pack) {
    pack_weights(p, plan, a.w, shared.as<T>(), plan.threads);
    packed = shared.as<T>();
  }
  const Call<T> call{p, plan, a, packed, k, WeightLayout(p, plan, k.lanes)};
  parallel_for(plan.threads, tasks, [&](Index i) {
    if (plan.lanes == Orientation::kChannelLanes) {
      run_channel_lanes(call, task_at(p, plan, i));
    } else if (plan.lanes == Orientation::kPixelLanes) {
      run_pixel_lanes(call, task_at(p, plan, i));
    } else {
      run_raw_pixels(call, task_at(p, plan, i));
    }
  });
}

template void direct_forward(const Problem&, const DirectPlan&, const Operands<float>&, const float*);
template void direct_forward(const Problem&, const DirectPlan&, const Operands<double>&, const double*);

}  // namespace fastconv
