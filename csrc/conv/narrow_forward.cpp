// Convolution of narrow groups with their channels in the lanes, where these fill enough of a vector.
//
// A block's input is transposed to [pixel][lane], with its padding, and rows and columns apart by their residue modulo
// the stride as in plane_stage.hpp. So a run of outputs meets a run of vectors at each tap, gaps between the rows
// included, and the tiles of kernels/narrow_tile.hpp have nothing to skip. Outputs are transposed back.
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "depthwise.hpp"
#include "narrow_stage.hpp"
#include "narrow_weights.hpp"
#include "next_planes.hpp"

namespace fastconv {
namespace {

// What a task needs, before it has any memory.
template <class T>
struct NarrowRooms {
  const Problem& p;
  Index lanes, block_height;
  NarrowStage stage;
  Panels in;  // channels of the input, each of which lies in a vector
  NarrowWeights<T> weights;
  Index out_row;  // channels of an output pixel, in whole vectors

  NarrowRooms(const Problem& problem, Index height)
      : p(problem),
        lanes(kernels().of<T>().lanes),
        block_height(height),
        stage(p, height, lanes),
        in(p.channels, lanes),
        weights(p.outputs, in, p.taps()),
        out_row(round_up(p.outputs, lanes)) {}

  // With what tiles read and write behind the last pixel.
  Index staged() const { return in.count * stage.elements() + kMaxNarrowPixels * lanes; }
  Index sums() const { return (block_height * stage.pitch() + kMaxNarrowPixels) * out_row; }
  Index products() const { return in.count * p.taps(); }
  Index outputs() const { return block_height * p.width().out; }
  std::size_t bytes() const {
    std::size_t all = 0;
    for (const Index room : {staged(), sums(), weights.elements(), out_row}) all += Workspace::piece_bytes<T>(room);
    for (const Index room : {p.taps(), products(), products(), stage.pixels(), outputs()}) {
      all += Workspace::piece_bytes<Index>(room);
    }
    return all;
  }
};

template <class T>
class NarrowTask {
 public:
  NarrowTask(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a)
      : p_(p),
        plan_(plan),
        a_(a),
        k_(kernels().of<T>()),
        rooms_(p, plan.block_height),
        workspace_(rooms_.bytes()),
        x_(workspace_.template take<T>(rooms_.staged())),
        sums_(workspace_.template take<T>(rooms_.sums())),
        weights_(workspace_.template take<T>(rooms_.weights.elements())),
        bias_(workspace_.template take<T>(rooms_.out_row)),
        tap_(workspace_.template take<Index>(p.taps())),
        a_offset_(workspace_.template take<Index>(rooms_.products())),
        b_offset_(workspace_.template take<Index>(rooms_.products())),
        x_at_(workspace_.template take<Index>(rooms_.stage.pixels())),
        y_at_(workspace_.template take<Index>(rooms_.outputs())) {
    std::fill_n(x_, rooms_.staged(), T(0));
    std::fill_n(weights_, rooms_.weights.elements(), T(0));
    std::fill_n(bias_, rooms_.out_row, T(0));
    rooms_.stage.pixel_offsets(x_at_);
    rooms_.stage.tap_offsets(tap_);
    for (Index i = 0; i < rooms_.outputs(); ++i) {
      y_at_[i] = (i / p.width().out * rooms_.stage.pitch() + i % p.width().out) * rooms_.out_row;
    }
  }

  // Blocks are numbered [group][image][rows].
  void run(Index block) {
    const Index oh = block % plan_.blocks_h * plan_.block_height, n = block / plan_.blocks_h % p_.batch;
    const Index g = block / plan_.blocks_h / p_.batch, height = std::min(plan_.block_height, p_.height().out - oh);
    if (height <= 0) return;
    if (g != packed_) pack(g);
    const NarrowStage& stage = rooms_.stage;
    for (Index i = 0; i < rooms_.in.count; ++i) {
      const T* const x = a_.x + n * p_.x.batch + g * p_.x.group + rooms_.in.start(i) * p_.x.channel;
      stage.copy(k_, x, oh, rooms_.in.size(i), x_at_, x_ + i * stage.elements());
    }
    T* const y = a_.y + n * p_.y.batch + g * p_.y.group + oh * p_.y.space[kHeight];
    if (plan_.blocks_h == 1) NextPlanes(y, p_.y, p_.outputs, p_.pixels()).ask_for_all();
    next_ = planes_of(block + 1);
    convolve(height);
    const ImageStrides planes = channels_as_groups(p_.y);
    for (Index o = 0; o < p_.outputs; o += k_.lanes) {
      const Index lanes = std::min<Index>(k_.lanes, p_.outputs - o), row = rooms_.out_row;
      LaneBlock<T>{planes, lanes, height, p_.width().out, stage.pitch() * row, row, y_at_}.scatter(
          k_, sums_ + o, y + o * p_.y.channel);
    }
  }

 private:
  void pack(Index g) {
    packed_ = g;
    rooms_.weights.pack(p_, a_.w + g * p_.w.group, p_.w.out, p_.w.in, weights_);
    if (a_.bias != nullptr) std::copy_n(a_.bias + g * p_.outputs, p_.outputs, bias_);
  }

  NextPlanes planes_of(Index block) const {
    const Index n = block % p_.batch, g = block / p_.batch;
    if (plan_.blocks_h > 1 || g >= p_.groups) return {};
    const T* const x = a_.x + n * p_.x.batch + g * p_.x.group;
    return {x, p_.x, p_.channels, p_.height().in * p_.width().in};
  }

  void convolve(Index rows) {
    const NarrowWeights<T>& weights = rooms_.weights;
    const Panels& panels = weights.panels();
    NarrowTile<T> t{};
    t.inner = most(rooms_.in);
    t.a = x_;
    t.a_offset = a_offset_;
    t.a_step = 1;
    t.b_offset = b_offset_;
    t.sums_row = rooms_.out_row;
    t.relu = p_.relu;
    for (Index j = 0; j < panels.count; ++j) {
      const Index vectors = panels.size(j);
      const Index together = p_.width().stride == 1 ? taps_together(vectors, p_.width().kernel) : 1;
      set_rows(k_, vectors, rows, p_.width().out, rooms_.stage.pitch(), t);
      set_taps(vectors, together, t);
      t.b = weights_ + weights.panel(j);
      t.b_step = vectors * weights.row();
      t.sums = sums_ + panels.start(j) * k_.lanes;
      t.bias = a_.bias == nullptr ? nullptr : bias_ + panels.start(j) * k_.lanes;
      next_.give_share(t);
      run_narrow_pixels(k_, vectors, together, t);
    }
  }

  // The tile's offsets and, of several taps, the distance between them.
  void set_taps(Index vectors, Index together, NarrowTile<T>& t) {
    const NarrowWeights<T>& weights = rooms_.weights;
    const auto place = [&](Index tap) { return NarrowWeights<T>::place(p_, tap); };
    t.outer = 0;
    for (Index i = 0; i < rooms_.in.count; ++i) {
      for (Index tap = 0; tap < p_.taps(); tap += together, ++t.outer) {
        a_offset_[t.outer] = i * rooms_.stage.elements() + tap_[tap];
        b_offset_[t.outer] = weights.at(i, vectors, place(tap));
      }
    }
    t.b_vector = together > 1 ? (place(1) - place(0)) * k_.lanes : weights.row();
  }

  const Problem& p_;
  const DepthwisePlan& plan_;
  Operands<T> a_;
  const Kernels<T>& k_;
  const NarrowRooms<T> rooms_;
  Workspace workspace_;
  T *x_, *sums_, *weights_, *bias_;
  Index *tap_, *a_offset_, *b_offset_, *x_at_, *y_at_;
  NextPlanes next_;    // of the next block, where blocks are images
  Index packed_ = -1;  // whose weights are in weights_
};

constexpr Index kFewest = 8, kMostStrided = 32;  // channels of a group, in and out
constexpr Index kMostProducts = 512;             // summed in a single chain, which has to stay accurate
constexpr Index kSide = 4096;  // of an image: beyond it no block fits, and sizes might not fit 64 bits

}  // namespace

template <class T>
bool fills_vectors(const Problem& p, Index most) {
  if (p.groups == 1) return false;
  const Index lanes = kernels().of<T>().lanes, strides = p.height().stride * p.width().stride;
  const auto fills = [&](Index channels) {
    return channels >= kFewest && channels <= (strides > 1 ? kMostStrided : most) &&
           (strides > 1 || lane_use(channels, lanes) > 0.5);
  };
  const auto suits = [](const Axis& a) {
    return a.dilation == 1 && a.stride <= a.kernel && std::max({a.in, a.out, a.kernel}) <= kSide;
  };
  const Axis& d = p.depth();
  return fills(p.channels) && fills(p.outputs) && d.in == 1 && d.out == 1 && d.kernel == 1 && d.pad == 0 &&
         suits(p.height()) && suits(p.width()) && p.taps() > 1 &&
         std::max(p.channels, p.outputs) * p.taps() <= kMostProducts;
}

template <class T>
bool choose_narrow_block(const Problem& p, Index most, DepthwisePlan& plan) {
  Index height = p.height().out;
  const auto fits = [&] { return NarrowRooms<T>(p, height).staged() <= most; };
  while (!fits() && height > 1) height = ceil_div(height, 2);
  if (!fits()) return false;
  plan.group_blocks = p.groups;
  plan.blocks_w = 1;
  plan.block_width = p.width().out;
  plan.blocks_h = ceil_div(p.height().out, height);
  plan.block_height = ceil_div(p.height().out, plan.blocks_h);
  return true;
}

template <class T>
std::size_t narrow_workspace(const Problem& p, const DepthwisePlan& plan) {
  return NarrowRooms<T>(p, plan.block_height).bytes();
}

template <class T>
void narrow_forward(const Problem& p, const DepthwisePlan& plan, const Operands<T>& a) {
  parallel_for(plan.threads, plan.tasks.count, [&](Index i) {
    NarrowTask<T> task(p, plan, a);
    const Index first = plan.tasks.start(i), end = first + plan.tasks.size(i);
    for (Index block = first; block < end; ++block) task.run(block);
  });
}

template bool fills_vectors<float>(const Problem&, Index);
template bool fills_vectors<double>(const Problem&, Index);
template bool choose_narrow_block<float>(const Problem&, Index, DepthwisePlan&);
template bool choose_narrow_block<double>(const Problem&, Index, DepthwisePlan&);
template std::size_t narrow_workspace<float>(const Problem&, const DepthwisePlan&);
template std::size_t narrow_workspace<double>(const Problem&, const DepthwisePlan&);
template void narrow_forward(const Problem&, const DepthwisePlan&, const Operands<float>&);
template void narrow_forward(const Problem&, const DepthwisePlan&, const Operands<double>&);

}  // namespace fastconv
