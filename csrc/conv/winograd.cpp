// The driver: passes over the weights, tasks, and the three steps of a task. Start reading at winograd_forward, at the
// end.
#include "winograd.hpp"

#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "store.hpp"
#include "winograd_input.hpp"

namespace fastconv {
namespace {

// f(point of V, point of M, whether that one's sum begins) for all products with point `u` of the weights.
template <class F>
void for_each_product(const WinogradForm& form, Index u, const F& f) {
  if (!form.strided()) return f(u, u, true);
  const WinogradAxis& axis = form.width;  // as the height
  const Index odd = axis.weights() - 1;   // the last weight is that of the odd elements, which follow the even ones
  const auto end = [&](Index i) { return i == odd ? axis.span() : i + 1; };
  const auto sum = [&](Index i) { return i < odd ? i : 2 * (i - odd); };
  const Index row = u / axis.weights(), column = u % axis.weights();
  for (Index i = row; i < end(row); ++i) {
    for (Index j = column; j < end(column); ++j) {
      f(i * axis.span() + j, sum(i) * axis.sums() + sum(j), row < odd && column < odd);
    }
  }
}

template <class T>
struct Call {
  const Problem& p;
  const WinogradPlan& plan;
  const Operands<T>& a;
  const Kernels<T>& kernels;
  WinogradWeightLayout<T> layout;
  WinogradRooms<T> rooms;
  Problem grid;   // whose outputs are those of one grid
  Problem input;  // whose channels are those of all images that share a vector

  Call(const Problem& problem, const WinogradPlan& chosen, const Operands<T>& operands)
      : p(problem),
        plan(chosen),
        a(operands),
        kernels(fastconv::kernels().of<T>()),
        layout(problem, chosen, kernels.lanes),
        rooms(chosen),
        grid(problem),
        input(problem) {
    input.batch /= plan.images, input.x.batch *= plan.images, input.channels *= plan.images;
    for (const SpatialAxis s : {kHeight, kWidth}) {
      grid.axis[s].out = grid_size(p.axis[s]);
      grid.y.space[s] *= winograd_grids(p.axis[s]);
    }
  }
};

template <class T>
class Task {
 public:
  // u: the transformed weights of (g, panel 0), so to speak; only the pass's panels are there. Null: they are fleeting.
  Task(const Call<T>& call, Index g, Index block, const T* u)
      : call_(call),
        g_(g),
        first_tile_(call.plan.tile_blocks.start(block) * call.plan.tiles_per_unit),
        tiles_(call.plan.tile_blocks.size(block) * call.plan.tiles_per_unit),
        u_(u) {
    Workspace workspace(call.plan.workspace);
    fleeting_ = workspace.take<T>(call.rooms.u);
    v_ = workspace.take<T>(call.rooms.v);
    m_ = workspace.take<T>(call.rooms.m);
    staged_ = workspace.take<T>(call.rooms.staged);
    finished_ = workspace.take<T>(call.rooms.finished);
  }

  void run(Index panel, Index end_panel) {
    const WinogradPlan& plan = call_.plan;
    bool transformed = false;
    for (; panel < end_panel; panel += plan.panels_per_block) {
      const Index end = std::min(panel + plan.panels_per_block, end_panel);
      for (Index d = 0; d < plan.depths; d += plan.depths_per_block) {
        if (!transformed) transform_input(d);
        transformed = plan.depths_per_block == plan.depths;
        if (u_ == nullptr) {
          multiply_fleeting(d, panel, end);
        } else {
          multiply(d, panel, end);
        }
      }
      transform_output(panel, end);
    }
  }

 private:
  Index channel(Index d) const { return std::min(d * call_.plan.depth, winograd_channels(call_.p)); }
  Index end_depth(Index d) const { return std::min(d + call_.plan.depths_per_block, call_.plan.depths); }

  // V of the block of channels that starts with depth d.
  void transform_input(Index d) {
    const WinogradPlan& plan = call_.plan;
    StagedRows<T> rows(call_.input, plan.form.height, plan.form.width, call_.a.x + g_ * call_.p.x.group, staged_);
    const Index lanes = call_.kernels.lanes, first = channel(d), end = channel(end_depth(d)) * plan.images;
    for (Index c = first; c < end; c += lanes) {
      for_each_run(call_.p, call_.plan, first_tile_, tiles_, [&](const TileRun& run, Index at) {
        WinogradInput<T> input = rows.stage(run, c, std::min(lanes, end - c));
        input.dst = v_ + at * call_.rooms.channels + (c - first);
        input.point = call_.rooms.v_point;
        input.tile = call_.rooms.channels;
        call_.kernels.winograd[call_.plan.form.kernels].input(input);
      });
    }
  }

  // M += V U for the block of channels that starts with `first`, and panels [panel, end).
  void multiply(Index first, Index panel, Index end) {
    for (Index point = 0; point < call_.plan.form.weights(); ++point) {
      for (Index i = panel; i < end; ++i) {
        const T* u = u_ + call_.layout.panel(i) + point * call_.layout.point(i);
        for (Index d = first; d < end_depth(first); ++d) {
          multiply_point(point, d, i, panel, u + channel(d) * call_.layout.width(i));
        }
      }
    }
  }

  void multiply_fleeting(Index first, Index panel, Index end) {
    for (Index i = panel; i < end; ++i) {
      for (Index d = first; d < end_depth(first); ++d) {
        transform_weights(call_.p, call_.plan, call_.a.w, {g_, i, channel(d), channel(d + 1)}, fleeting_,
                          call_.rooms.u_point);
        for (Index point = 0; point < call_.plan.form.weights(); ++point) {
          multiply_point(point, d, i, panel, fleeting_ + point * call_.rooms.u_point);
        }
      }
    }
  }

  // The products with a point of the weights over the channels of depth d, for panel i of those from `panel` on.
  void multiply_point(Index point, Index d, Index i, Index panel, const T* u) {
    const WinogradPlan& plan = call_.plan;
    const Index lane = (plan.panels.start(i) - plan.panels.start(panel)) * call_.kernels.lanes;
    WinogradProduct<T> product;
    product.tiles = tiles_ * plan.images;
    product.depth = channel(d + 1) - channel(d);
    product.ldv = call_.rooms.channels / plan.images;
    product.u = u;
    product.ldm = call_.rooms.outputs;
    for_each_product(plan.form, point, [&](Index v, Index m, bool begins) {
      product.v = v_ + v * call_.rooms.v_point + d % plan.depths_per_block * plan.depth;
      product.m = m_ + m * call_.rooms.m_point + lane;
      product.accumulate = d > 0 || !begins;
      call_.kernels.winograd_product[plan.panels.size(i) - 1](product);
    });
  }

  void transform_output(Index panel, Index end) {
    const Index lanes = call_.kernels.lanes, first = call_.plan.panels.start(panel);
    const Index vectors = call_.plan.panels.start(end - 1) + call_.plan.panels.size(end - 1) - first;
    const Problem& p = call_.p;
    const Index images = call_.plan.images;
    for (Index v = 0; v < vectors; ++v) {
      const Index output = (first + v) * lanes;
      const T* bias = call_.a.bias == nullptr ? nullptr : call_.a.bias + g_ * p.outputs + output;
      for_each_run(p, call_.plan, first_tile_, tiles_, [&](const TileRun& run, Index at) {
        Rectangle r = run.outputs(p, call_.plan, g_);
        if (r.height <= 0 || r.width <= 0) return;
        T* const y = call_.a.y + run.grid_h * p.y.space[kHeight] + run.grid_w * p.y.space[kWidth];
        r.n *= images;
        for (Index i = 0; i < images; ++i, ++r.n) {
          finish(r, m_ + (at * images + i) * call_.rooms.outputs + v * lanes);
          OutputBlock<T>(call_.grid, r, y, output, std::min(lanes, p.outputs - output), bias)
              .store_pixel_rows(finished_, lanes);
        }
      });
    }
  }

  // The outputs of r, as pixels of one vector.
  void finish(const Rectangle& r, const T* m) {
    const WinogradForm& form = call_.plan.form;
    const Index lanes = call_.kernels.lanes, across = form.width.tile;
    WinogradOutput<T> output{};
    output.src = m;
    output.point = call_.rooms.m_point;
    output.tile = call_.rooms.outputs * call_.plan.images;
    output.dst = finished_;
    output.row = form.height.span() == 1 ? lanes : r.width * lanes;
    output.rows = r.height;
    output.columns = r.width;
    output.step = across * lanes;
    output.tiles = ceil_div(r.width, across);
    call_.kernels.winograd[form.kernels].output(output);
  }

  const Call<T>& call_;
  Index g_, first_tile_, tiles_;
  const T* u_;
  T *fleeting_, *v_, *m_, *staged_, *finished_;
};

template <class T>
void run_pass(const Call<T>& call, const Pass& pass, const T* u) {
  const WinogradPlan& plan = call.plan;
  const Index panels = pass.end_panel - pass.panel, parts = std::min(plan.output_tasks, panels);
  const Panels part(panels, ceil_div(panels, parts));
  const Index blocks = plan.tile_blocks.count;
  parallel_for(plan.threads, pass.groups * part.count * blocks, [&](Index i) {
    const Index block = i % blocks, piece = i / blocks % part.count, g = i / blocks / part.count;
    const Index first = pass.panel + part.start(piece);
    const T* group = u == nullptr ? nullptr : u + g * call.layout.group() - call.layout.panel(pass.panel);
    Task<T>(call, pass.group + g, block, group).run(first, first + part.size(piece));
  });
}

// Weights that fit the pass's memory are transformed, then used.
template <class T>
void transform_and_run(const Call<T>& call) {
  const WinogradPlan& plan = call.plan;
  const RecycledBlock shared(plan.shared);
  T* u = shared.as<T>();
  for (Index g = 0; g < call.p.groups; g += plan.groups_per_pass) {
    const Index groups = std::min(plan.groups_per_pass, call.p.groups - g);
    for (Index first = 0; first < plan.panels.count; first += plan.panels_per_pass) {
      const Pass pass{g, groups, first, std::min(first + plan.panels_per_pass, plan.panels.count)};
      transform_pass(call.p, plan, call.a.w, pass, u);
      run_pass<T>(call, pass, u);
    }
  }
}

}  // namespace

template <class T>
WinogradRooms<T>::WinogradRooms(const WinogradPlan& plan) {
  constexpr Index gap = WinogradWeightLayout<T>::kGap;
  const Index lanes = kernels().of<T>().lanes, tiles = plan.block_tiles();
  const Index run = std::min(tiles, plan.tile_columns);
  channels = round_up(plan.block_channels(), lanes);
  outputs = plan.panels_per_block * WinogradPlan::most(plan.panels) * lanes;
  u_point = plan.depth * WinogradPlan::most(plan.panels) * lanes + gap;
  v_point = round_up(tiles * channels, gap) + gap;
  m_point = round_up(tiles * plan.images * outputs, gap) + gap;
  u = plan.fleeting_weights ? plan.form.weights() * u_point : 0;
  v = plan.points * v_point;
  m = plan.form.sums() * m_point;
  staged = StagedRows<T>::elements(plan, plan.form.height, plan.form.width, run, lanes);
  finished = plan.form.height.tile * run * plan.form.width.tile * lanes;
}

template <class T>
void winograd_forward(const Problem& p, const WinogradPlan& plan, const Operands<T>& a, const T* packed) {
  if (plan.tiles == 0) return;
  const Call<T> call(p, plan, a);
  if (packed != nullptr || plan.fleeting_weights) {
    run_pass<T>(call, {0, p.groups, 0, plan.panels.count}, packed);
  } else {
    transform_and_run(call);
  }
}

template struct WinogradRooms<float>;
template struct WinogradRooms<double>;
template void winograd_forward(const Problem&, const WinogradPlan&, const Operands<float>&, const float*);
template void winograd_forward(const Problem&, const WinogradPlan&, const Operands<double>&, const double*);

}  // namespace fastconv
