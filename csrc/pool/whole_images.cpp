// Gradients of pools whose single window is all of an image, channels in the lanes (NHWC).
#include <atomic>
#include <limits>

#include "../conv/plan.hpp"
#include "../parallel.hpp"
#include "backward.hpp"

namespace fastconv {
namespace {

constexpr Index kLaneBlock = 64;     // channels, or a multiple of it, of a task that has them in the lanes
constexpr Index kMostLanes = 2048;   // whose winners stay in L1
constexpr Index kMostAsked = 256;    // pixels that are asked whether a saved index is theirs; else zero all, follow it
constexpr Index kMostCopied = 4096;  // elements of dx that are copied at once, from L1

// Whole images with channels in the lanes: pixels follow each other evenly, and each is written as it lies.
template <class T>
class WholeImage {
  using P = PlaceOf<T>;

 public:
  static std::size_t bytes(Index lanes) { return Workspace::piece_bytes<P>(lanes) + Workspace::piece_bytes<T>(lanes); }

  WholeImage(const PoolProblem& p, const GradientArrays<T>& a, Index batch, const Range& lanes)
      : p_(p),
        a_(a),
        kernels_(kernels().of<T>()),
        batch_(batch),
        lanes_(lanes),
        dx_(a.dx + batch * p.gradient.batch + lanes.first),
        dx_step_(pixel_step(p, p.gradient)),
        workspace_(bytes(lanes.size())),
        winners_(workspace_.take<P>(lanes.size())),
        best_(workspace_.take<T>(lanes.size())) {}

  static Index pixel_step(const PoolProblem& p, const ImageStrides& s) {
    return p.width().in > 1 ? s.space[kWidth] : p.height().in > 1 ? s.space[kHeight] : s.space[kDepth];
  }
  static bool even(const PoolProblem& p, const ImageStrides& s) {
    const Index step = pixel_step(p, s), w = p.width().in, h = p.height().in;
    return s.channel == 1 && (h == 1 || s.space[kHeight] == w * step) &&
           (p.depth().in == 1 || s.space[kDepth] == h * w * step);
  }

  // False if a saved index is no element of the image.
  bool run() {
    if (a_.kind == kFoldSum) return spread(), true;
    if (a_.indices == nullptr) {
      if (!find(false)) find(true);
    } else if (!take()) {
      return false;
    }
    LaneGather<T> g{};
    g.rows = g.columns = 1;
    g.place[0] = winners_;
    g.dy[0] = dy();
    g.pixels = p_.plane_size(), g.lanes = lanes_.size();
    g.place_step = 1;
    g.dx = dx_, g.dx_step = dx_step_;
    kernels_.gather_lanes(g);
    return true;
  }

 private:
  const T* dy() const { return a_.dy + batch_ * p_.y.batch + lanes_.first; }

  // The same for every pixel: what is there is copied on.
  void spread() const {
    T factor = 1;
    RowFactors<T>(p_, {0, 1}, &factor).of(0, 0);
    Unpool<T> u{};
    u.dy = dy(), u.dx = dx_;
    u.outer = u.rows = 1, u.n = lanes_.size();
    for (Index& taps : u.taps) taps = 1;
    u.scale = factor;
    kernels_.unpool(u);
    const Index most = dx_step_ == lanes_.size() ? std::max<Index>(1, kMostCopied / dx_step_) : 1;
    for (Index done = 1, more; done < p_.plane_size(); done += more) {
      more = std::min({most, done, p_.plane_size() - done});
      std::copy_n(dx_, (more - 1) * dx_step_ + lanes_.size(), dx_ + done * dx_step_);
    }
  }

  bool find(bool careful) const {
    return kernels_.lane_winners({a_.x + batch_ * p_.x.batch + lanes_.first, nullptr, p_.plane_size(),
                                  pixel_step(p_, p_.x), 0, 1, lanes_.size(), 1, 0, 0, best_, winners_, careful});
  }

  bool take() const {
    return kernels_.saved_lanes({a_.indices + batch_ * p_.indices.batch + lanes_.first,
                                 0,
                                 1,
                                 lanes_.size(),
                                 0,
                                 0,
                                 {1, p_.plane_size()},
                                 0,
                                 winners_});
  }

  const PoolProblem& p_;
  const GradientArrays<T>& a_;
  const Kernels<T>& kernels_;
  Index batch_;
  Range lanes_;
  T* dx_;
  Index dx_step_;
  Workspace workspace_;
  P* winners_;
  T* best_;
};

}  // namespace

template <class T>
bool whole_images_gradient(const PoolProblem& p, const GradientArrays<T>& a, int available) {
  const bool found = a.kind == kFoldMaxPlaces && a.indices == nullptr;
  if (!whole_windows(p) || p.channels < kernels().of<T>().lanes || p.y.channel != 1) return false;
  if (!WholeImage<T>::even(p, p.gradient) || (found && !WholeImage<T>::even(p, p.x))) return false;
  if (a.indices != nullptr && (p.indices.channel != 1 || p.plane_size() > kMostAsked)) return false;
  if (p.plane_size() > std::numeric_limits<std::int32_t>::max()) return false;
  const double moved = static_cast<double>(p.planes()) * static_cast<double>(p.plane_size());
  const int threads = useful_threads(24 * moved, available, available);
  const Index blocks = ceil_div(p.channels, kLaneBlock), parts = std::max<Index>(ceil_div(threads, p.batch), 1);
  const Panels lanes(p.channels, std::min(kMostLanes, ceil_div(blocks, parts) * kLaneBlock));
  std::atomic<bool> valid{true};
  parallel_for(threads, p.batch * lanes.count, [&](Index task) {
    const Index first = lanes.start(task % lanes.count), last = first + lanes.size(task % lanes.count);
    WholeImage<T> image(p, a, task / lanes.count, {first, last});
    if (!image.run()) valid.store(false, std::memory_order_relaxed);
  });
  return valid.load();
}

template bool whole_images_gradient(const PoolProblem&, const GradientArrays<float>&, int);
template bool whole_images_gradient(const PoolProblem&, const GradientArrays<double>&, int);

}  // namespace fastconv
