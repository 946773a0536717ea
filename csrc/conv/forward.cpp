// Forward convolution: walks the plan's tasks, each a block of output pixels by a range of output
// channels, and calls the tile kernel. Start reading at conv_forward, at the end.
#include <algorithm>

#include "../cpu.hpp"
#include "../parallel.hpp"
#include "../workspace.hpp"
#include "conv.hpp"
#include "pixel_panel.hpp"
#include "stage.hpp"
#include "store.hpp"
#include "weights.hpp"

namespace fastconv {
namespace {

// The weights that will be wanted next; panel -1: none.
struct NextWeights {
  Index g, panel;
  Reduction::Block block;
};

template <class T>
struct Call {
  const Problem& p;
  const DirectPlan& plan;
  const Operands<T>& a;
  const T* packed;
  const Kernels<T>& kernels;
  WeightLayout layout;

  // Panel i of a block of the reduction: packed before, or now into `to`.
  const T* weights(Index g, const Reduction::Block& b, Index i, T* to) const {
    if (packed != nullptr) return packed + g * layout.group + layout.panel(p, plan, b, i);
    pack_weight_panel(p, plan, a.w + g * p.w.group, b, i, to);
    return to;
  }
  void prefetch(const NextWeights& next, Index part, Index parts) const {
    if (packed == nullptr) {
      prefetch_weight_panel(p, plan, a.w + next.g * p.w.group, next.block, next.panel, part, parts);
      return;
    }
    const T* from = packed + next.g * layout.group + layout.panel(p, plan, next.block, next.panel);
    const Index lines =
        next.block.depth() * plan.panels.size(next.panel) * kernels.lanes * static_cast<Index>(sizeof(T)) / 64;
    for (Index l = lines * part / parts; l < lines * (part + 1) / parts; ++l) {
      __builtin_prefetch(reinterpret_cast<const char*>(from) + l * 64, 0, 2);
    }
  }
  const T* bias(Index g, Index output) const { return a.bias == nullptr ? nullptr : a.bias + g * p.outputs + output; }
};

struct Task {
  Index n, g, od, bh, bw, first_panel, end_panel;
};

Task task_at(const Problem& p, const DirectPlan& plan, Index i) {
  Task t{};
  const Index part = i % plan.output_tasks;
  t.first_panel = part * plan.panels_per_task;
  t.end_panel = std::min(plan.panels.count, t.first_panel + plan.panels_per_task);
  i /= plan.output_tasks;
  t.bw = i % plan.blocks_w;
  i /= plan.blocks_w;
  t.bh = i % plan.blocks_h;
  i /= plan.blocks_h;
  t.od = i % p.depth().out;
  i /= p.depth().out;
  t.g = i % p.groups;
  t.n = i / p.groups;
  return t;
}

// ---- channels in the lanes ----------------------------------------------------------------------

Rectangle rectangle_of(const Problem& p, const DirectPlan& plan, const Task& t) {
  const Index oh = t.bh * plan.block_height, ow = t.bw * plan.block_width;
  return {t.n,
          t.g,
          t.od,
          oh,
          ow,
          std::min(plan.block_height, p.height().out - oh),
          std::min(plan.block_width, p.width().out - ow)};
}

// All pixels of the rectangle against one weight panel and one block of the reduction.
// Meanwhile the next weights are asked for, or their way from L3 would show.
template <class T>
void sweep_pixels(const Call<T>& call, const Tile<T>& first, const Index* pixel_offset, Index pixels, Index vectors,
                  const NextWeights& next) {
  const Panels rows(pixels, call.kernels.tile_rows);
  for (Index i = 0; i < rows.count; ++i) {
    if (next.panel >= 0) call.prefetch(next, i, rows.count);
    Tile<T> tile = first;
    tile.row_offset = pixel_offset + rows.start(i);
    tile.c += rows.start(i) * first.ldc;
    call.kernels.channel_lanes[rows.size(i) - 1][vectors - 1](tile);
  }
}

template <class T>
void run_channel_lanes(const Call<T>& call, const Task& task) {
  const Problem& p = call.p;
  const DirectPlan& plan = call.plan;
  const Index lanes = call.kernels.lanes, depth = plan.reduction.depth();
  const Rectangle rect = rectangle_of(p, plan, task);
  if (rect.height <= 0 || rect.width <= 0) return;

  Workspace workspace(plan.workspace);
  Index* tap_offset = workspace.take<Index>(depth);
  Index* pixel_offset = workspace.take<Index>(plan.block_height * plan.block_width);
  T* panel = workspace.take<T>(depth * lanes * call.kernels.tile_vectors);
  T* sums = plan.in_place ? nullptr
                          : workspace.take<T>(plan.block_height * plan.block_width * lanes * call.kernels.tile_vectors);
  const Windows<T> windows =
      plan.staged
          ? Stage::copy(p, call.a.x, rect, workspace.take<T>(Stage::elements(p, plan.block_height, plan.block_width)))
          : Stage::windows(p, call.a.x, rect);
  windows.pixel_offsets(p, rect, pixel_offset);
  // Blocks of whole channels differ in their first channel only; the first block is the largest.
  const bool same_taps = plan.reduction.tap_blocks.count == 1;
  windows.tap_offsets(p, plan.reduction.block(0), tap_offset);

  for (Index i = task.first_panel; i < task.end_panel; ++i) {
    const Index vectors = plan.panels.size(i), width = vectors * lanes;
    const Index output = plan.panels.start(i) * lanes;
    OutputBlock<T> out(p, rect, call.a.y, output, std::min(width, p.outputs - output), call.bias(task.g, output));
    for (Index k = 0; k < plan.reduction.count(); ++k) {
      const Reduction::Block b = plan.reduction.block(k);
      if (!same_taps) windows.tap_offsets(p, b, tap_offset);
      Tile<T> tile{};
      tile.depth = b.depth();
      tile.a = windows.data + b.channel * windows.channel;
      tile.b = call.weights(task.g, b, i, panel);
      tile.k_offset = tap_offset;
      tile.accumulate = k > 0;
      if (plan.in_place) {
        const bool last = k + 1 == plan.reduction.count();
        tile.c = out.data();
        tile.ldc = p.y.space[kWidth];
        tile.lanes = out.outputs();
        tile.relu = last && p.relu;
        tile.bias = last ? out.bias() : nullptr;
      } else {
        tile.c = sums;
        tile.ldc = tile.lanes = width;
      }
      const bool same = k + 1 < plan.reduction.count();
      const NextWeights next{task.g,
                             same                     ? i
                             : i + 1 < task.end_panel ? i + 1
                                                      : -1,
                             plan.reduction.block(same ? k + 1 : 0)};
      sweep_pixels(call, tile, pixel_offset, rect.pixels(), vectors, next);
    }
    if (!plan.in_place) out.store_pixel_rows(sums, width);
  }
}

// ---- pixels in the lanes ------------------------------------------------------------------------

template <class T>
void run_pixel_lanes(const Call<T>& call, const Task& task) {
  const Problem& p = call.p;
  const DirectPlan& plan = call.plan;
  const Kernels<T>& kernels = call.kernels;
  const Index plane = p.height().out * p.width().out, most_width = kernels.lanes * kernels.tile_vectors;
  const Index first = task.bw * plan.block_width;
  const Index pixels = std::min(plan.block_width, plane - first);
  if (pixels <= 0) return;
  const Index first_output = plan.panels.start(task.first_panel);
  const Index outputs = plan.panels.start(task.end_panel) - first_output;
  const Panels vectors(ceil_div(pixels, kernels.lanes), kernels.tile_vectors);
  const Index sums_width = vectors.total * kernels.lanes;

  Workspace workspace(plan.workspace);
  T* pixel_panel = workspace.take<T>(plan.reduction.depth() * most_width);
  T* weights = workspace.take<T>(plan.reduction.depth() * plan.panels_per_task * kernels.tile_rows);
  T* sums = plan.in_place ? nullptr : workspace.take<T>(plan.panels_per_task * kernels.tile_rows * 2 * most_width);
  const bool prefetch = can_prefetch_pixels(p);
  const T* raw = call.a.w + task.g * p.w.group;
  T* y = call.a.y + task.n * p.y.batch + task.g * p.y.group + task.od * p.y.space[kDepth] + first_output * p.y.channel +
         first;  // meant for in_place

  for (Index k = 0; k < plan.reduction.count(); ++k) {
    const Reduction::Block b = plan.reduction.block(k);
    const bool last = k + 1 == plan.reduction.count();
    if (call.packed == nullptr && !plan.raw_weights) {
      for (Index i = task.first_panel; i < task.end_panel; ++i) {
        call.weights(task.g, b, i, weights + b.depth() * (plan.panels.start(i) - first_output));
      }
    }
    const T* rows_of_weights = plan.raw_weights         ? raw + first_output * p.w.out + b.first(p.taps())
                               : call.packed != nullptr ? call.packed + task.g * call.layout.group +
                                                              call.layout.panel(p, plan, b, task.first_panel)
                                                        : weights;
    for (Index j = 0; j < vectors.count; ++j) {
      const Index lane = vectors.start(j) * kernels.lanes, width = vectors.size(j) * kernels.lanes;
      const PixelRun run{task.n, task.g, task.od, first + lane, std::min(width, pixels - lane)};
      pack_pixels(p, call.a.x, run, b, width, pixel_panel);
      const Index ahead = prefetch && j + 1 < vectors.count ? vectors.size(j + 1) * kernels.lanes : 0;
      const PixelRun next{task.n, task.g, task.od, first + lane + width,
                          std::clamp<Index>(pixels - lane - width, 0, ahead)};
      Tile<T> tile{};
      tile.depth = b.depth();
      tile.b = pixel_panel;
      tile.lda = plan.raw_weights ? p.w.out : b.depth();
      tile.accumulate = k > 0;
      tile.ldc = plan.in_place ? p.y.channel : sums_width;
      tile.lanes = plan.in_place ? run.count : width;
      tile.relu = plan.in_place && last && p.relu;
      for (Index i = task.first_panel; i < task.end_panel; ++i) {
        const Index row = plan.panels.start(i) - first_output;
        if (next.count > 0) {
          prefetch_pixels(p, call.a.x, next, b, i - task.first_panel, task.end_panel - task.first_panel);
        }
        if (plan.raw_weights && j == 0 && i + 1 < task.end_panel) {
          prefetch_weight_panel(p, plan, raw, b, i + 1, 0, 1);
        }
        tile.a = rows_of_weights + row * tile.lda;
        tile.c = plan.in_place ? y + row * p.y.channel + lane : sums + row * sums_width + lane;
        tile.bias = plan.in_place && last ? call.bias(task.g, first_output + row) : nullptr;
        kernels.pixel_lanes[plan.panels.size(i) - 1][vectors.size(j) - 1](tile);
      }
    }
  }
  if (plan.in_place) return;
  const PixelRun run{task.n, task.g, task.od, first, pixels};
  store_output_rows(p, run, call.a.y, first_output, outputs, sums, sums_width, call.bias(task.g, first_output));
}

}  // namespace

template <class T>
void conv_forward(const Problem& p, const DirectPlan& plan, const Operands<T>& a, const T* packed) {
  if (p.channels == 0 || p.taps() == 0) {
    fill_with_bias(p, a.y, a.bias);
    return;
  }
  const Index tasks = plan.tasks(p);
  if (tasks == 0) return;
  const Kernels<T>& k = kernels().of<T>();
  AlignedBlock shared;
  if (packed == nullptr && plan.shared_weights) {
    shared = allocate_aligned(plan.shared);
    pack_weights(p, plan, a.w, static_cast<T*>(shared.get()), plan.threads);
    packed = static_cast<const T*>(shared.get());
  }
  const Call<T> call{p, plan, a, packed, k, WeightLayout(p, plan, k.lanes)};
  parallel_for(plan.threads, tasks, [&](Index i) {
    if (plan.lanes == Orientation::kChannelLanes) {
      run_channel_lanes(call, task_at(p, plan, i));
    } else {
      run_pixel_lanes(call, task_at(p, plan, i));
    }
  });
}

template void conv_forward(const Problem&, const DirectPlan&, const Operands<float>&, const float*);
template void conv_forward(const Problem&, const DirectPlan&, const Operands<double>&, const double*);

}  // namespace fastconv
