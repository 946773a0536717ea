// The rows of an input plane that a block of outputs meets, as pointers: read where they lie, if what a vector meets
// beyond their ends is the array's, too, and from a padded copy otherwise. Rows of padding are a row of zeros.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "../cpu.hpp"
#include "../workspace.hpp"
#include "blocking.hpp"

namespace fastconv {

// The first element of an array's and the one behind its last, counted from its origin.
inline Range elements_of(const Problem& p, const ImageStrides& s) {
  Range all{0, 1};
  const auto add = [&](Index count, Index step) { (step < 0 ? all.first : all.last) += (count - 1) * step; };
  add(p.batch, s.batch);
  add(p.groups, s.group);
  add(p.channels, s.channel);
  for (std::size_t i = 0; i < kSpatial; ++i) add(p.axis[i].in, s.space[i]);
  return all;
}

// Taps whose masks cost more than a copy of the rows with zeros beside them.
constexpr Index kManyMasks = 49;

template <class T>
class PlaneRows {
 public:
  // For blocks of up to height x width outputs. Takes its memory, bytes(), from the workspace.
  PlaneRows(const Problem& p, Index height, Index width, const T* x, Workspace& workspace)
      : p_(p),
        x_(x),
        readable_(p.x.space[kWidth] == 1 && p.taps() < kManyMasks ? elements_of(p, p.x) : Range{0, 0}),
        reach_(reach(p, width)),
        kept_row_(kept_row(width)),
        row_(workspace.take<const T*>(rows(p, height))),
        zeros_(workspace.take<T>(reach_)),
        kept_(workspace.take<T>(p.width().kernel * kept_row_)),
        copies_(workspace.take<T>(rows(p, height) * reach_)) {
    std::fill_n(zeros_, reach_, T(0));
  }

  static std::size_t bytes(const Problem& p, Index height, Index width) {
    return Workspace::piece_bytes<const T*>(rows(p, height)) + Workspace::piece_bytes<T>(reach(p, width)) +
           Workspace::piece_bytes<T>(p.width().kernel * kept_row(width)) +
           Workspace::piece_bytes<T>(rows(p, height) * reach(p, width));
  }
  // Of the copies, the largest part; saturated.
  static Index elements(const Problem& p, Index height, Index width) {
    Index all;
    return __builtin_mul_overflow(rows(p, height), reach(p, width), &all) ? std::numeric_limits<Index>::max() : all;
  }

  // Fills the kernel's part about x for `height` rows of outputs from (oh, ow) on, of the plane that starts `at`
  // elements from the array's origin, or, not `inside`, of a plane of zeros.
  void meet(Index at, bool inside, Index oh, Index ow, Index height, DepthwiseRows<T>& t) {
    const Axis& w = p_.width();
    t.row = row_;
    t.kept = kept_;
    t.kept_row = kept_row_;
    const Index top = oh * p_.height().stride - p_.height().pad, count = rows(p_, height);
    if (ow != ow_) {
      columns_ = {w.pad - ow * w.stride, w.pad - ow * w.stride + w.in};
      if (p_.taps() < kManyMasks) keep_columns();
    }
    if (oh != oh_ || ow != ow_) {
      image_ = {std::clamp<Index>(-top, 0, count), std::clamp<Index>(p_.height().in - top, 0, count)};
      std::fill_n(row_, count, zeros_);
    }
    const Index step = p_.x.space[kHeight], from = at + top * step - columns_.first * p_.x.space[kWidth];
    t.first = always_copies() ? 0 : columns_.first;
    t.end = always_copies() ? reach_ : columns_.last;
    const bool in_place = inside && readable(from, step);
    if (in_place && in_place_ && oh == oh_ && ow == ow_) {
      for (Index i = image_.first; i < image_.last; ++i) row_[i] += from - from_;
    } else {
      find_rows(x_ + at + top * step, inside, from);
    }
    oh_ = oh, ow_ = ow, from_ = from, in_place_ = in_place;
  }

 private:
  static Index rows(const Problem& p, Index height) { return (height - 1) * p.height().stride + p.height().kernel; }
  static Index reach(const Problem& p, Index width) {
    return kept_row(width) * p.width().stride + p.width().kernel - 1;
  }
  static Index kept_row(Index width) { return std::max<Index>(width, kernels().of<T>().lanes); }

  bool always_copies() const { return readable_.last == 0; }
  // Whether all rows of the image are, with what is read beside them.
  bool readable(Index from, Index step) const {
    const Index first = from + image_.first * step, last = from + (image_.last - 1) * step;
    return std::min(first, last) >= readable_.first && std::max(first, last) + reach_ <= readable_.last;
  }

  void find_rows(const T* x, bool inside, Index from) {
    const Index step = p_.x.space[kHeight];
    if (inside && always_copies()) {
      copy(x + image_.first * step, image_.size(), copies_ + image_.first * reach_);
      for (Index i = image_.first; i < image_.last; ++i) row_[i] = copies_ + i * reach_;
      return;
    }
    for (Index i = image_.first; i < image_.last; ++i) {
      const Index at = from + i * step;
      const bool in_place = at >= readable_.first && at + reach_ <= readable_.last;
      T* const to = copies_ + i * reach_;
      if (inside && !in_place) copy(x + i * step, 1, to);
      row_[i] = !inside ? zeros_ : in_place ? x_ + at : to;
    }
  }

  // All bits set, or none: what the kernel's masks are. Copies have their zeros.
  void keep_columns() {
    T* to = kept_;
    for (Index s = 0; s < p_.width().kernel; ++s, to += kept_row_) {
      for (Index j = 0; j < kept_row_; ++j) {
        const Index column = j * p_.width().stride + s;
        const bool inside = column >= columns_.first && column < columns_.last;
        std::memset(to + j, inside || always_copies() ? 0xff : 0, sizeof(T));
      }
    }
  }

  // Rows of the image from x on, from the column on that the first output meets first.
  void copy(const T* x, Index rows, T* to) const {
    const Index before = std::clamp<Index>(columns_.first, 0, reach_);
    const Index end = std::clamp<Index>(columns_.last, 0, reach_);
    if (end <= before) {
      std::fill_n(to, rows * reach_, T(0));
      return;
    }
    StageRows<T> s{};
    s.step = p_.x.space[kWidth];
    s.src = x + (before - columns_.first) * s.step;
    s.src_row = p_.x.space[kHeight];
    s.rows = rows;
    s.count = end - before;
    s.left = before;
    s.dst = to;
    s.dst_row = reach_;
    kernels().of<T>().stage_rows(s);
  }

  const Problem& p_;
  const T* x_;
  Range readable_;
  Index reach_, kept_row_;
  const T** row_;
  T* zeros_;
  T* kept_;
  T* copies_;
  // What row_ and kept_ hold: the first output, which of the rows are the image's, and where row 0 lies.
  Index oh_ = -1, ow_ = -1, from_ = 0;
  Range image_{0, 0}, columns_{0, 0};
  bool in_place_ = false;
};

}  // namespace fastconv
