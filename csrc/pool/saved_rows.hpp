// Winners of large windows that saved indices name, with planes or channels in the lanes.
#pragma once

#include "rows_in_lanes.hpp"

namespace fastconv {

template <class T>
class SavedRows {
  using P = PlaceOf<T>;

 public:
  // Rows of windows that follow each other, and elements of dx that do.
  static bool applies(const PoolProblem& p, const PlaceSteps& place) {
    return place.row == p.width().in * place.pixel &&
           (p.indices.channel == 1 || dense_planes(p.indices, 1, p.height().out, p.width().out));
  }
  static std::size_t workspace_bytes(const PoolProblem& p) {
    return 2 * Workspace::piece_bytes<P>(rows_at_once(p) * p.width().out * kernels().of<T>().lanes);
  }
  // As many as make a good transpose.
  static Index rows_at_once(const PoolProblem& p) { return std::max<Index>(1, kPixels / p.width().out); }

  // Of `lanes` planes or channels, at most a vector's, from `indices` on.
  SavedRows(const PoolProblem& p, const Index* indices, Index lanes, const PlaceSteps& place, Workspace& workspace)
      : p_(p), indices_(indices), lanes_(lanes), place_(place), kernels_(kernels().of<T>()) {
    const Index count = rows_at_once(p) * p.width().out * kernels_.lanes;
    planes_ = workspace.take<P>(count);
    winners_ = workspace.take<P>(count);
  }

  // A vector for each window of some rows; null if an index lies outside the plane.
  const P* rows(Range rows) {
    const Index width = p_.width().out;
    NarrowPlaces<T> t{};
    t.limit = p_.plane_size(), t.scale = static_cast<P>(place_.pixel);
    if (p_.indices.channel == 1) {
      t.rows = width, t.n = lanes_, t.indices_row = p_.indices.space[kWidth], t.place_row = kernels_.lanes;
      t.lane_place = static_cast<P>(place_.lane);
      bool inside = true;
      for (Index row = rows.first; row < rows.last && inside; ++row) {
        t.indices = indices_ + row * p_.indices.space[kHeight];
        t.place = winners_ + (row - rows.first) * width * kernels_.lanes;
        inside = kernels_.narrow_places(t);
      }
      return inside ? winners_ : nullptr;
    }
    const Index pixels = rows.size() * width;
    t.indices = indices_ + rows.first * width, t.place = planes_;
    t.rows = lanes_, t.n = pixels, t.indices_row = p_.indices.channel, t.place_row = pixels;
    t.row_place = static_cast<P>(place_.lane);
    if (!kernels_.narrow_places(t)) return nullptr;
    // Their bits are moved as if they were elements.
    kernels_.interleave({reinterpret_cast<const T*>(planes_), pixels, lanes_, pixels, reinterpret_cast<T*>(winners_)});
    return winners_;
  }

 private:
  static constexpr Index kPixels = 128;

  const PoolProblem& p_;
  const Index* indices_;
  Index lanes_;
  PlaceSteps place_;
  const Kernels<T>& kernels_;
  P *planes_, *winners_;
};

}  // namespace fastconv
