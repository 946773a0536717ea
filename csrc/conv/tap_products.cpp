// dx for few channels C of x. As a convolution of dy it has C rows of weights, too few to share what a tile loads. So
// each tap is multiplied on its own, which makes C * KH * KW rows, and the products are shifted and added afterwards:
//
//     P[c, k, pixel]  =  sum over o of  w[o, c, k] * dy[o, pixel]            a matrix product
//     dx[c, i]        =  bias[c] + sum over k of  P[c, k, pixel that meets i through tap k]
//
// A task does this for a rectangle of dx, so that P stays in L2. Rows of dy that hold a vector are read where they lie,
// others from a padded copy of some channels (reads_in_place). The shifted sums are a convolution with weights of 1,
// and the kernel of depthwise.hpp does them. With a stride, each residue of i has its own taps (grad_input_phase in
// problem.hpp); all of them share one product.
#include "tap_products.hpp"

#include <vector>

#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "direct_plan.hpp"
#include "plane_stage.hpp"
#include "store.hpp"

namespace fastconv {
namespace {

constexpr Index kMostChannels = 5;                 // a tile has six rows
constexpr Index kMostUnstrided = 2;                // where there is one residue, its rows share the loads of all taps
constexpr Index kFewestProducts = 8;               // of P's elements: fewer would cost less than the sums afterwards
constexpr Index kMostWeights = Index{1} << 20;     // elements, packed anew by each call
constexpr Index kMostWorkspace = Index{12} << 20;  // bytes
constexpr Index kMostPhases = 256;                 // residues; larger strides leave most of dx without any tap
constexpr Index kChain = 64;                       // channels of dy that are staged, and summed in a row
constexpr Index kChainInPlace = 512;               // that are summed in a row where they lie, if few rows read them
constexpr Index kFewRows = 6;                      // tiles
constexpr Index kRowsAhead = 6;                    // of dy, asked for while one is multiplied

bool few_channels(const Problem& forward) {
  const Index rows = forward.channels * forward.taps();
  const bool strided = forward.depth().stride * forward.height().stride * forward.width().stride > 1;
  return forward.channels <= (strided ? kMostChannels : kMostUnstrided) && forward.outputs >= kFewestProducts &&
         forward.taps() > 1 && rows >= 6 && (forward.y.space[kWidth] == 1 || forward.width().out == 1) &&
         count_phases(forward) <= kMostPhases && forward.groups * rows <= kMostWeights / forward.outputs;
}

// The residues of height and width, for one residue of the depth.
struct Phase {
  GradInputPhase part;
  Index first_row;  // of its rows in P, for each depth tap

  const Problem& problem() const { return part.problem; }
  Index plane_taps() const { return problem().height().kernel * problem().width().kernel; }
};

// An axis that meets every dy that some phase meets: stride 1, and as many taps as they reach over together.
Axis hull(const std::vector<Phase>& phases, std::size_t s) {
  Axis a = phases.front().problem().axis[s];
  Index reach = 0;
  for (const Phase& f : phases) {
    const Axis& b = f.problem().axis[s];
    a.pad = std::max(a.pad, b.pad);
    a.out = std::max(a.out, b.out);
  }
  for (const Phase& f : phases) {
    const Axis& b = f.problem().axis[s];
    reach = std::max(reach, a.pad - b.pad + b.span());
  }
  a.kernel = reach;
  a.dilation = 1;
  return a;
}

template <class T>
class TapProducts {
 public:
  explicit TapProducts(std::vector<Phase> phases)
      : phases_(std::move(phases)), hull_(phases_.front().problem()), k_(kernels().of<T>()) {
    for (const SpatialAxis s : {kHeight, kWidth}) hull_.axis[s] = hull(phases_, s);
    for (Phase& f : phases_) {
      f.first_row = rows_;
      rows_ += channels() * f.plane_taps();
    }
  }

  // Chooses the rectangle, and how many images a task goes through; false where even a small one would not stay in L2.
  bool plan(int threads) {
    height_ = hull_.height().out, width_ = std::min<Index>(hull_.width().out, 1024);
    while (bytes() > caches().l2 / 2 && height_ > 4) height_ = ceil_div(height_, 2);
    while (bytes() > caches().l2 / 2 && width_ > 8 * k_.lanes) width_ = ceil_div(width_, 2);
    bytes_ = bytes();
    if (bytes_ > caches().l2 * 5 / 8) return false;
    blocks_h_ = ceil_div(hull_.height().out, height_);
    blocks_w_ = ceil_div(hull_.width().out, width_);
    vectors_ = vectors();
    images_ = std::clamp<Index>(hull_.batch * blocks() / (4 * threads), 1, std::min<Index>(hull_.batch, 16));
    return true;
  }

  Index weights() const { return hull_.groups * depth_taps() * rows_ * outputs(); }
  // [group][depth tap][row][o]
  void pack(const T* w, T* to) const;
  Index tasks() const { return ceil_div(hull_.batch, images_) * blocks(); }
  void run(Index task, const T* dy, const T* packed, const T* bias, T* dx) const;

 private:
  struct Block {
    Index n, g, od, oh, ow;
  };
  struct Scratch {
    T* stage;
    T* products;
    T* sums;
    T* ones;
    Index* shift;     // of the taps of one phase and channel, in P
    Index* k_offset;  // of the channels of dy
    Slot<T>* slots;
  };
  // The part of a block's stage that is dy, not padding.
  struct Inside {
    Range rows, columns;
  };

  Index channels() const { return hull_.outputs; }  // of x
  Index outputs() const { return hull_.channels; }  // of the convolution: the products' reduction
  Index depth_taps() const { return hull_.depth().kernel; }
  Panels chains(bool in_place = false) const {
    return {outputs(), in_place && rows_ <= kFewRows * k_.tile_rows ? kChainInPlace : kChain};
  }
  Index chain() const { return chains().size(0); }
  Index blocks() const { return hull_.groups * hull_.depth().out * blocks_h_ * blocks_w_; }  // of an image
  // Planes of a multiple of 1 KiB would meet in a few sets of L1; a longer pitch, or a vector more, keeps them apart.
  static bool collide(Index plane) { return plane * static_cast<Index>(sizeof(T)) % 1024 == 0; }
  PlaneStage stage() const {
    const PlaneStage s(hull_, height_, width_, 1);
    return collide(s.plane()) ? PlaneStage(hull_, height_, width_, width_ + 1) : s;
  }
  Index vectors() const {
    const Index needed = ceil_div(stage().plane(), k_.lanes);
    return needed + collide(needed * k_.lanes);
  }
  Index product_plane() const { return vectors_ * k_.lanes; }
  Index most_shifts() const { return depth_taps() * rows_; }
  Index most_slots() const { return stage().rows() * ceil_div(stage().pitch(), k_.lanes) + 1; }
  Index bytes() const;  // of the workspace
  Scratch scratch() const;
  Block block(Index task) const;
  Inside inside(const Block& b) const;
  bool reads_in_place(const Inside& in) const;
  void clear_margins(const Inside& in, T* products) const;
  Index place_in_dy(const Inside& in, const Block& b, const T* dy, const Scratch& s) const;
  Index place_in_stage(const Inside& in, const Scratch& s) const;
  void multiply(const Inside& in, const Block& b, const T* dy, const T* packed, const Scratch& s) const;
  void multiply(const Scratch& s, Index vectors, const Index* k_offset, const T* packed, Index first, Index count,
                Index ahead) const;
  void add(const Scratch& s, const Phase& f, const Block& b, const T* bias, T* dx) const;

  std::vector<Phase> phases_;
  Problem hull_;
  const Kernels<T>& k_;
  Index rows_ = 0;
  Index height_ = 0, width_ = 0, blocks_h_ = 0, blocks_w_ = 0;
  Index vectors_ = 0;  // of a row of P
  Index images_ = 1;
  Index bytes_ = 0;
};

template <class T>
Index TapProducts<T>::bytes() const {
  const Index planes = chain() * depth_taps();
  if (!stage().fits(std::max(planes, most_shifts()), kMostWorkspace / static_cast<Index>(sizeof(T)))) {
    return kMostWorkspace + 1;
  }
  const Index plane = vectors() * k_.lanes;
  return static_cast<Index>(Workspace::piece_bytes<T>(planes * stage().plane() + k_.lanes) +
                            Workspace::piece_bytes<T>(most_shifts() * plane) + Workspace::piece_bytes<T>(plane) +
                            Workspace::piece_bytes<T>(most_shifts()) + Workspace::piece_bytes<Index>(most_shifts()) +
                            Workspace::piece_bytes<Index>(std::max(planes, outputs())) +
                            Workspace::piece_bytes<Slot<T>>(most_slots()));
}

template <class T>
typename TapProducts<T>::Scratch TapProducts<T>::scratch() const {
  const Index planes = chain() * depth_taps(), plane = stage().plane();
  Workspace workspace(static_cast<std::size_t>(bytes_));
  Scratch s{};
  s.stage = workspace.take<T>(planes * plane + k_.lanes);
  s.products = workspace.take<T>(most_shifts() * product_plane());
  s.sums = workspace.take<T>(product_plane());
  s.ones = workspace.take<T>(most_shifts());
  s.shift = workspace.take<Index>(most_shifts());
  s.k_offset = workspace.take<Index>(std::max(planes, outputs()));
  s.slots = workspace.take<Slot<T>>(most_slots());
  std::fill_n(s.stage + planes * plane, k_.lanes, T(0));
  std::fill_n(s.ones, most_shifts(), T(1));
  return s;
}

template <class T>
void TapProducts<T>::pack(const T* w, T* to) const {
  for (Index g = 0; g < hull_.groups; ++g) {
    for (Index d = 0; d < depth_taps(); ++d) {
      for (const Phase& f : phases_) {
        const Problem& p = f.problem();
        const T* from = w + f.part.w_offset + g * p.w.group + d * p.w.space[kDepth];
        for (Index c = 0; c < channels(); ++c) {
          for (Index r = 0; r < p.height().kernel; ++r) {
            for (Index q = 0; q < p.width().kernel; ++q) {
              const T* tap = from + c * p.w.out + r * p.w.space[kHeight] + q * p.w.space[kWidth];
              for (Index o = 0; o < outputs(); ++o) *to++ = tap[o * p.w.in];
            }
          }
        }
      }
    }
  }
}

template <class T>
typename TapProducts<T>::Block TapProducts<T>::block(Index task) const {
  const auto digit = [&](Index base) {
    const Index d = task % base;
    task /= base;
    return d;
  };
  Block b{};
  b.ow = digit(blocks_w_) * width_;
  b.oh = digit(blocks_h_) * height_;
  b.od = digit(hull_.depth().out);
  b.g = digit(hull_.groups);
  b.n = task * images_;
  return b;
}

template <class T>
void TapProducts<T>::run(Index task, const T* dy, const T* packed, const T* bias, T* dx) const {
  Block b = block(task);
  const Scratch s = scratch();
  const Inside in = inside(b);
  clear_margins(in, s.products);
  const T* weights = packed + b.g * depth_taps() * rows_ * outputs();
  for (const Index end = std::min(hull_.batch, b.n + images_); b.n < end; ++b.n) {
    multiply(in, b, dy + b.n * hull_.x.batch + b.g * hull_.x.group, weights, s);
    for (const Phase& f : phases_) add(s, f, b, bias, dx + f.part.x_offset);
  }
}

template <class T>
typename TapProducts<T>::Inside TapProducts<T>::inside(const Block& b) const {
  const auto cut = [](const Axis& a, Index start, Index size) {
    const Index first = std::clamp<Index>(a.pad - start, 0, size);
    return Range{first, std::clamp<Index>(a.in + a.pad - start, first, size)};
  };
  return {cut(hull_.height(), b.oh, stage().rows()), cut(hull_.width(), b.ow, stage().pitch())};
}

// Rows of a vector or more need no copy: the products of the margins, zeros, are not computed. The last vector of a row
// overlaps the one before it, unless sums are added to, which would count twice there.
template <class T>
bool TapProducts<T>::reads_in_place(const Inside& in) const {
  const Axis& d = hull_.depth();
  const bool whole = chains(true).count == 1 || in.columns.size() % k_.lanes == 0;
  return d.in == 1 && d.out == 1 && d.kernel == 1 && d.pad == 0 && in.columns.size() >= k_.lanes && whole;
}

// What no product is written to. In the stage they are written between the columns, too, and are zeros there.
template <class T>
void TapProducts<T>::clear_margins(const Inside& in, T* products) const {
  const Index pitch = stage().pitch();
  const bool gaps = reads_in_place(in);
  for (Index row = 0; row < most_shifts(); ++row, products += product_plane()) {
    T* next = products;
    for (Index r = in.rows.first; r < in.rows.last && gaps; ++r) {
      T* const first = products + r * pitch + in.columns.first;
      std::fill(next, first, T(0));
      next = first + in.columns.size();
    }
    if (!gaps && in.rows.size() > 0) {
      std::fill(products, products + in.rows.first * pitch, T(0));
      next = products + in.rows.last * pitch;
    }
    std::fill(next, products + product_plane(), T(0));
  }
}

template <class T>
Index TapProducts<T>::place_in_dy(const Inside& in, const Block& b, const T* dy, const Scratch& s) const {
  const Index top = b.oh - hull_.height().pad, left = b.ow - hull_.width().pad;
  Slot<T>* slot = s.slots;
  for (Index r = in.rows.first; r < in.rows.last; ++r) {
    for (Index c = in.columns.first; c < in.columns.last; c += k_.lanes) {
      const Index column = std::min(c, in.columns.last - k_.lanes);
      *slot++ = {dy + (top + r) * hull_.x.space[kHeight] + left + column, s.products + r * stage().pitch() + column,
                 k_.lanes};
    }
  }
  for (Index o = 0; o < outputs(); ++o) s.k_offset[o] = o * hull_.x.channel;
  return slot - s.slots;
}

// Rows of the copy follow each other without gaps, and so do vectors.
template <class T>
Index TapProducts<T>::place_in_stage(const Inside& in, const Scratch& s) const {
  const Index first = in.rows.first * stage().pitch() / k_.lanes;
  const Index end = std::min(ceil_div(in.rows.last * stage().pitch(), k_.lanes), vectors_);
  for (Index v = first; v < end; ++v) {
    s.slots[v - first] = {s.stage + v * k_.lanes, s.products + v * k_.lanes, k_.lanes};
  }
  for (Index d = 0; d < depth_taps(); ++d) {
    for (Index o = 0; o < chain(); ++o) s.k_offset[d * chain() + o] = (o * depth_taps() + d) * stage().plane();
  }
  return std::max<Index>(0, end - first);
}

template <class T>
void TapProducts<T>::multiply(const Inside& in, const Block& b, const T* dy, const T* packed, const Scratch& s) const {
  const bool in_place = reads_in_place(in);
  const Index vectors = in_place ? place_in_dy(in, b, dy, s) : place_in_stage(in, s);
  Problem part = hull_;
  const Panels parts = chains(in_place);
  // Columns of dy that stay in L1 for all rows of the product need not be asked for.
  const Index columns = outputs() * k_.tile_vectors * k_.lanes * static_cast<Index>(sizeof(T));
  const bool far = in_place && parts.count == 1 && columns >= caches().l1 / 2;
  const Index ahead = far ? kRowsAhead * hull_.x.channel : 0;
  for (Index i = 0; i < parts.count; ++i) {
    part.channels = parts.size(i);
    const Index first = parts.start(i);
    if (!in_place) stage().copy_all(part, k_, dy + first * hull_.x.channel, b.od, b.oh, b.ow, s.stage);
    multiply(s, vectors, in_place ? s.k_offset + first : s.k_offset, packed, first, part.channels, ahead);
  }
}

template <class T>
void TapProducts<T>::multiply(const Scratch& s, Index vectors, const Index* k_offset, const T* packed, Index first,
                              Index count, Index ahead) const {
  const Panels columns(vectors, k_.tile_vectors), rows(rows_, k_.tile_rows);
  const Index lda = outputs(), ldc = product_plane();
  Tile<T> tile{};
  tile.depth = count;
  tile.accumulate = first > 0;
  tile.lda = lda;
  tile.ldc = ldc;
  tile.ahead_step = ahead * static_cast<Index>(sizeof(T));
  for (Index j = 0; j < columns.count; ++j) {
    tile.slot = s.slots + columns.start(j);
    for (Index d = 0; d < depth_taps(); ++d) {
      tile.k_offset = k_offset + d * chain();
      for (Index r = 0; r < rows.count; r += tile.tiles) {
        const Index row = d * rows_ + rows.start(r);
        tile.a = packed + row * lda + first;
        tile.c_shift = row * ldc;
        tile.next.a = rows.size(r) * lda;
        tile.next.c = rows.size(r) * ldc;
        tile.tiles = rows.end_of_size(r) - r;
        const auto kernel = k_.raw_pixels[rows.size(r) - 1][columns.size(j) - 1];
        const auto far = k_.far_pixels[rows.size(r) - 1][columns.size(j) - 1];
        (ahead > 0 && far != nullptr ? far : kernel)(tile);
      }
    }
  }
}

template <class T>
void TapProducts<T>::add(const Scratch& s, const Phase& f, const Block& b, const T* bias, T* dx) const {
  const Problem& p = f.problem();
  const Axis &h = p.height(), &w = p.width();
  const Index height = std::min(height_, h.out - b.oh), width = std::min(width_, w.out - b.ow);
  if (height <= 0 || width <= 0) return;
  const Index pitch = stage().pitch(), step = p.y.space[kWidth], row_step = p.y.space[kHeight];
  const Index plane = product_plane(), lead_h = hull_.height().pad - h.pad, lead_w = hull_.width().pad - w.pad;
  for (Index c = 0; c < channels(); ++c) {
    Index count = 0;
    for (Index d = 0; d < depth_taps(); ++d) {
      Index row = d * rows_ + f.first_row + c * f.plane_taps();
      for (Index r = 0; r < h.kernel; ++r) {
        for (Index q = 0; q < w.kernel; ++q, ++row) {
          s.shift[count++] = row * plane + (r * h.dilation + lead_h) * pitch + q * w.dilation + lead_w;
        }
      }
    }
    ShiftedRun<T> run{};
    run.depth = count;
    run.x = s.products;
    run.offset = s.shift;
    run.w = s.ones;
    run.sums = s.sums;
    run.length = (height - 1) * pitch + width;
    run.bias = bias == nullptr ? nullptr : bias + b.g * channels() + c;
    k_.shifted_run[0](run);
    T* to = dx + b.n * p.y.batch + b.g * p.y.group + c * p.y.channel + b.od * p.y.space[kDepth] + b.oh * row_step +
            b.ow * step;
    if (step == 1) {
      k_.copy({s.sums, pitch, height, width, to, row_step});
      continue;
    }
    for (Index i = 0; i < height; ++i) {
      for (Index j = 0; j < width; ++j) to[i * row_step + j * step] = s.sums[i * pitch + j];
    }
  }
}

}  // namespace

template <class T>
bool tap_products_grad_input(const Problem& forward, const T* grad_output, const T* w, const T* bias, T* grad_input,
                             int threads) {
  if (!few_channels(forward) || forward.flops() == 0) return false;
  const Index depths = std::min(forward.depth().stride, forward.depth().in);
  const Index phases = count_phases(forward) / depths;
  std::vector<TapProducts<T>> parts;
  std::vector<GradInputPhase> empty;
  for (Index d = 0; d < depths; ++d) {
    std::vector<Phase> reached;
    for (Index i = 0; i < phases; ++i) {
      GradInputPhase phase = grad_input_phase(forward, d * phases + i);
      if (phase.problem.taps() == 0) {
        empty.push_back(phase);
      } else {
        reached.push_back({phase, 0});
      }
    }
    if (reached.empty()) continue;
    parts.emplace_back(std::move(reached));
    if (!parts.back().plan(threads)) return false;
  }
  for (const GradInputPhase& f : empty) fill_with_bias<T>(f.problem, grad_input + f.x_offset, bias);
  for (const TapProducts<T>& part : parts) {
    RecycledBlock packed(static_cast<std::size_t>(part.weights()) * sizeof(T));
    part.pack(w, packed.as<T>());
    parallel_for(useful_threads(forward.flops(), part.tasks(), threads), part.tasks(),
                 [&](Index i) { part.run(i, grad_output, packed.as<T>(), bias, grad_input); });
  }
  return true;
}

template bool tap_products_grad_input(const Problem&, const float*, const float*, const float*, float*, int);
template bool tap_products_grad_input(const Problem&, const double*, const double*, const double*, double*, int);

}  // namespace fastconv
