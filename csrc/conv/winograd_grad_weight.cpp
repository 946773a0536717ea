// The weights' gradient by Winograd's algorithm. The forward's y = A^T [(G g G^T) * (B^T d B)] A is linear in g, so
//
//   dg = G^T S G     S[point][c][o] = sum over tiles of V[point][tile][c] * Z[point][tile][o]
//                    V = B^T d B    Z = A dy A^T
//
// with V as in the forward, and P * P products of matrices whose reduction runs over tiles: the tile kernel again, rows
// being channels and lanes outputs.
//
// A task owns a block of channels by some panels of outputs, so few that S stays in L2 while all tiles pass by, some at
// a time. Where dW is so small that there are few tasks, the tiles are split too, into parts that follow from the
// problem alone; their results are added in order, so the bits do not depend on the threads.
#include "winograd_grad_weight.hpp"

#include <algorithm>

#include "../cpu.hpp"
#include "../memory.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "grad_parts.hpp"
#include "winograd_input.hpp"

namespace fastconv {
namespace {

constexpr Index kFewest = 16;  // channels, outputs and tiles
// Channels of a task and tiles that are transformed at a time; those of a line have few points.
Index most_channels_of_task(const WinogradForm& f) { return f.line() ? 128 : 64; }
Index most_tiles_at_once(const WinogradForm& f) { return f.line() ? 96 : 24; }
constexpr Index kSumsBytes = Index{600} << 10;  // S of a task
constexpr Index kFewTasks = 4;                  // fewer would leave threads idle

// Cycles on one core, as in winograd_plan.cpp: an FMA pair does two products of a vector in a cycle.
constexpr double kTransform = 11;  // for each point of a tile and vector of channels, staging included
constexpr double kFinish = 5;      // for each point, channel and vector of outputs
// The part of the FMA peak that tiles reach: reductions of lines are longer.
double fma_use(const WinogradForm& f) { return f.line() ? 0.85 : 0.7; }

// Tiles of dY are what a tile's outputs are.
WinogradAxis without_taps(const WinogradAxis& axis) { return {axis.tile, 1}; }

template <class T>
struct GradPlan {
  WinogradPlan tiles;  // the form and how the tiles lie
  Panels channels, panels, panel_tasks, blocks;
  Index parts = 1;
  Index lanes, width, v_row;  // outputs of the widest task; V's row
  Index v_point, z_point, s_point;

  GradPlan(const Problem& p, int threads);
  void split_among(int threads, const Problem& p);
  double cycles(Index channel_tasks, Index output_tasks) const;
  // Points are a cache line apart, too, or they would all fall into one set.
  static Index apart(Index elements) { return round_up(elements, 16) + 16; }
  Index most_channels() const { return WinogradPlan::most(channels); }
  Index most_tiles() const { return WinogradPlan::most(blocks); }
  Index most_run() const { return std::min(most_tiles(), tiles.tile_columns); }
  Index input_rows() const {
    return StagedRows<T>::elements(tiles, tiles.form.height, tiles.form.width, most_run(), lanes);
  }
  Index gradient_rows() const {
    return StagedRows<T>::elements(tiles, without_taps(tiles.form.height), without_taps(tiles.form.width), most_run(),
                                   lanes);
  }
  Index finished() const { return most_channels() * tiles.form.height.taps * tiles.form.width.taps * lanes; }
  std::size_t bytes() const {
    std::size_t all = 2 * Workspace::piece_bytes<Index>(std::max(most_channels(), most_tiles()));
    for (const Index room : {tiles.points * v_point, tiles.points * z_point, tiles.points * s_point, input_rows(),
                             gradient_rows(), finished()}) {
      all += Workspace::piece_bytes<T>(room);
    }
    return all;
  }
};

// F(4x4, 3x3) for 3x3, unless half of its tiles would be padding.
WinogradPlan tiles_of(const Problem& p) {
  WinogradPlan plan;
  const bool tiny = std::min(grid_size(p.height()), grid_size(p.width())) <= 2;
  plan.form = winograd_form(p, tiny);
  plan.points = plan.form.points();
  lay_tiles(p, plan);
  return plan;
}

template <class T>
GradPlan<T>::GradPlan(const Problem& p, int threads) : tiles(tiles_of(p)) {
  const Kernels<T>& k = kernels().of<T>();
  lanes = k.lanes;
  channels = Panels(p.channels, most_channels_of_task(tiles.form));
  panels = Panels(ceil_div(p.outputs, lanes), k.tile_vectors);
  blocks = Panels(tiles.tiles, most_tiles_at_once(tiles.form));
  const Index panel = WinogradPlan::most(panels) * lanes;
  const Index sums = tiles.points * most_channels() * panel * static_cast<Index>(sizeof(T));
  panel_tasks = Panels(panels.count, std::max<Index>(1, kSumsBytes / sums));
  parts = parts_of_gradient<T>(p, blocks.count, kFewTasks / (p.groups * channels.count * panel_tasks.count));
  split_among(threads, p);
  width = WinogradPlan::most(panel_tasks) * panel;
  v_row = round_up(most_channels(), lanes);
  v_point = apart(most_tiles() * v_row);
  z_point = apart(most_tiles() * width);
  s_point = apart(most_channels() * width);
}

// Of one task, for a point.
template <class T>
double GradPlan<T>::cycles(Index channel_tasks, Index output_tasks) const {
  const Index rows = ceil_div(channels.total, channel_tasks), in = ceil_div(rows, lanes);
  const Index out = std::min(panels.total, ceil_div(panels.count, output_tasks) * WinogradPlan::most(panels));
  return static_cast<double>(tiles.tiles * (in + out)) * kTransform +
         static_cast<double>(rows * out) * (static_cast<double>(tiles.tiles) / 2 / fma_use(tiles.form) + kFinish);
}

// More tasks, of fewer channels or outputs, where that makes the threads finish sooner; the bits do not depend on it.
template <class T>
void GradPlan<T>::split_among(int threads, const Problem& p) {
  constexpr double kWorthIt = .95;  // of the time with fewer tasks
  const auto time = [&](Index channel_tasks, Index output_tasks) {
    return static_cast<double>(ceil_div(parts * p.groups * channel_tasks * output_tasks, threads)) *
           cycles(channel_tasks, output_tasks);
  };
  Index best_channels = channels.count, best_outputs = panel_tasks.count;
  double best = time(best_channels, best_outputs);
  const Index most_channels = std::min(ceil_div(p.channels, lanes), channels.count + 2 * threads);
  const Index most_outputs = std::min(panels.count, panel_tasks.count + 2 * threads);
  for (Index o = panel_tasks.count; o <= most_outputs; ++o) {
    for (Index c = channels.count; c <= most_channels; ++c) {
      const double t = time(c, o);
      if (t < kWorthIt * best) best = t, best_channels = c, best_outputs = o;
    }
  }
  channels = Panels(p.channels, ceil_div(p.channels, best_channels));
  panel_tasks = Panels(panels.count, ceil_div(panels.count, best_outputs));
}

// The gradient as an image of its own: its tiles neither overlap nor meet padding, but at the end.
Problem image_of_gradient(const Problem& p) {
  Problem q = p;
  q.x = p.y;
  q.channels = p.outputs;
  for (std::size_t s = 0; s < kSpatial; ++s) {
    q.axis[s] = Axis{};
    q.axis[s].in = q.axis[s].out = p.axis[s].out;
    q.axis[s].dilation = s == kDepth ? 1 : winograd_grids(p.axis[s]);
  }
  return q;
}

template <class T>
class GradTask {
 public:
  GradTask(const Problem& p, const GradPlan<T>& plan, Index g, Index channels, Index panels)
      : p_(p),
        gradient_(image_of_gradient(p)),
        plan_(plan),
        k_(kernels().of<T>()),
        g_(g),
        channel_(plan.channels.start(channels)),
        channels_(plan.channels.size(channels)),
        first_panel_(plan.panel_tasks.start(panels)),
        end_panel_(first_panel_ + plan.panel_tasks.size(panels)),
        output_(plan.panels.start(first_panel_) * plan.lanes),
        width_(plan.panels.start(end_panel_) * plan.lanes - output_),
        workspace_(plan.bytes()) {
    v_ = workspace_.take<T>(plan.tiles.points * plan.v_point);
    z_ = workspace_.take<T>(plan.tiles.points * plan.z_point);
    s_ = workspace_.take<T>(plan.tiles.points * plan.s_point);
    input_rows_ = workspace_.take<T>(plan.input_rows());
    gradient_rows_ = workspace_.take<T>(plan.gradient_rows());
    finished_ = workspace_.take<T>(plan.finished());
    row_offset_ = workspace_.take<Index>(plan.most_channels());
    tile_offset_ = workspace_.take<Index>(plan.most_tiles());
    for (Index i = 0; i < channels_; ++i) row_offset_[i] = i;
    for (Index i = 0; i < plan.most_tiles(); ++i) tile_offset_[i] = i * plan.v_row;
  }

  void run(const T* x, const T* dy, const Range& blocks, T* to) {
    for (Index i = blocks.first; i < blocks.last; ++i) {
      const Index tile = plan_.blocks.start(i), tiles = plan_.blocks.size(i);
      transform_input(x, tile, tiles);
      transform_gradient(dy, tile, tiles);
      multiply(tiles, i > blocks.first);
    }
    store(to + g_ * p_.w.group + output_ * p_.w.out + channel_ * p_.w.in);
  }

 private:
  using Transform = void (*)(const WinogradInput<T>&);

  // A vector of channels [first, last) after the other: rows of pixels, then tiles, to[point][tile][row].
  void transform(StagedRows<T>& rows, Index first_tile, Index tiles, Index first, Index last, Transform kernel, T* to,
                 Index point, Index row) {
    for (Index c = first; c < last; c += plan_.lanes) {
      for_each_run(p_, plan_.tiles, first_tile, tiles, [&](const TileRun& run, Index at) {
        WinogradInput<T> input = rows.stage(run, c, std::min(plan_.lanes, last - c));
        input.dst = to + at * row + (c - first);
        input.point = point;
        input.tile = row;
        kernel(input);
      });
    }
  }

  void transform_input(const T* x, Index first_tile, Index tiles) {
    const WinogradForm& form = plan_.tiles.form;
    StagedRows<T> rows(p_, form.height, form.width, x + g_ * p_.x.group, input_rows_);
    transform(rows, first_tile, tiles, channel_, channel_ + channels_, k_.winograd[form.kernels].input, v_,
              plan_.v_point, plan_.v_row);
  }

  void transform_gradient(const T* dy, Index first_tile, Index tiles) {
    const WinogradForm& form = plan_.tiles.form;
    StagedRows<T> rows(gradient_, without_taps(form.height), without_taps(form.width), dy + g_ * p_.y.group,
                       gradient_rows_);
    for (Index i = first_panel_; i < end_panel_; ++i) {
      const Index first = plan_.panels.start(i) * plan_.lanes, width = plan_.panels.size(i) * plan_.lanes;
      transform(rows, first_tile, tiles, first, std::min(first + width, p_.outputs),
                k_.winograd[form.kernels].output_gradient, z_ + (first - output_) * plan_.most_tiles(), plan_.z_point,
                width);
    }
  }

  void multiply(Index tiles, bool accumulate) {
    for (Index point = 0; point < plan_.tiles.points; ++point) {
      for (Index i = first_panel_; i < end_panel_; ++i) multiply(tiles, accumulate, point, i);
    }
  }
  void multiply(Index tiles, bool accumulate, Index point, Index panel) {
    const Panels rows(channels_, k_.tile_rows);
    const Index lane = plan_.panels.start(panel) * plan_.lanes - output_, vectors = plan_.panels.size(panel);
    Tile<T> tile{};
    tile.depth = tiles;
    tile.k_offset = tile_offset_;
    tile.ldc = width_;
    tile.lanes = vectors * plan_.lanes;
    tile.accumulate = accumulate;
    tile.a = v_ + point * plan_.v_point;
    tile.b = z_ + point * plan_.z_point + lane * plan_.most_tiles();
    for (Index i = 0; i < rows.count; i += tile.tiles) {
      tile.row_offset = row_offset_ + rows.start(i);
      tile.c = s_ + point * plan_.s_point + rows.start(i) * width_ + lane;
      tile.next.c = rows.size(i) * width_;
      tile.tiles = rows.end_of_size(i) - i;
      k_.channel_lanes[rows.size(i) - 1][vectors - 1](tile);
    }
  }

  void store(T* to) {
    const Index taps = p_.taps(), lanes = plan_.lanes;
    for (Index v = 0; v < width_ / lanes; ++v) {
      k_.winograd[plan_.tiles.form.kernels].weight_gradient(
          {s_ + v * lanes, plan_.s_point, width_, channels_, finished_});
      const Index outputs = std::min(lanes, p_.outputs - output_ - v * lanes);
      k_.transpose({finished_, lanes, channels_ * taps, outputs, to + v * lanes * p_.w.out, p_.w.out, nullptr, false});
    }
  }

  const Problem& p_;
  Problem gradient_;
  const GradPlan<T>& plan_;
  const Kernels<T>& k_;
  Index g_, channel_, channels_, first_panel_, end_panel_, output_, width_;
  Workspace workspace_;
  T *v_, *z_, *s_, *input_rows_, *gradient_rows_, *finished_;
  Index *row_offset_, *tile_offset_;
};

}  // namespace

template <class T>
bool winograd_grad_weight_wins(const Problem& p) {
  const WinogradPlan tiles = tiles_of(p);
  if (!winograd_applies(p.axis) || p.depth().kernel > 1 || std::min({p.channels, p.outputs, tiles.tiles}) < kFewest)
    return false;
  const GradPlan<T> plan(p, 1);
  const double in = static_cast<double>(ceil_div(p.channels, plan.lanes)), out = static_cast<double>(plan.panels.total);
  const double channels = static_cast<double>(p.channels), taps = static_cast<double>(p.taps());
  const double points = static_cast<double>(tiles.points), count = static_cast<double>(tiles.tiles);
  const double transforms =
      count * points * kTransform * columns_apart(p) *
      (in * static_cast<double>(plan.panel_tasks.count) + out * static_cast<double>(plan.channels.count));
  const double products = points * channels * out * (count / 2 / fma_use(tiles.form) + kFinish);
  const double direct = static_cast<double>(p.batch * p.pixels()) * taps * channels * out / 2 / 0.8;
  return transforms + products < 0.9 * direct;
}

template <class T>
void winograd_grad_weight(const Problem& p, const T* x, const T* grad_output, T* grad_weight, int threads) {
  const GradPlan<T> plan(p, threads);
  const Index elements = p.groups * p.outputs * p.channels * p.taps();
  const RecycledBlock partial(plan.parts > 1 ? static_cast<std::size_t>(plan.parts * elements) * sizeof(T) : 0);
  const Index tasks = plan.parts * p.groups * plan.channels.count * plan.panel_tasks.count;
  parallel_for(useful_threads(p.flops() / 3, tasks, threads), tasks, [&](Index i) {
    const Index panels = i % plan.panel_tasks.count, channels = i / plan.panel_tasks.count % plan.channels.count;
    const Index group = i / plan.panel_tasks.count / plan.channels.count % p.groups;
    const Index part = i / plan.panel_tasks.count / plan.channels.count / p.groups;
    T* to = plan.parts > 1 ? partial.as<T>() + part * elements : grad_weight;
    const Range blocks = blocks_of_part(plan.blocks.count, plan.parts, part);
    GradTask<T>(p, plan, group, channels, panels).run(x, grad_output, blocks, to);
  });
  if (plan.parts > 1) add_parts(partial.as<const T>(), plan.parts, elements, grad_weight);
}

template bool winograd_grad_weight_wins<float>(const Problem&);
template bool winograd_grad_weight_wins<double>(const Problem&);
template void winograd_grad_weight(const Problem&, const float*, const float*, float*, int);
template void winograd_grad_weight(const Problem&, const double*, const double*, double*, int);

}  // namespace fastconv
