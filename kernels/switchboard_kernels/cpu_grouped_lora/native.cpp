// Grouped LoRA on AVX-512 or AVX2: y[row] += round(scale * x[row] A^T) B^T, each row through its adapter.
//
// One call a layer, two passes (shrink, expand), no copies of weights or rows. Plain C interface:
// no torch headers, so it builds in seconds and outlives torch's ABI. bf16 uses VDPBF16PS where
// the CPU has it, else widens to float32; accumulation is float32 in every case.
//
// OpenMP is compiled in but not linked: the loader resolves it to the runtime torch already uses,
// so there is one pool of threads and not two that spin against each other.

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __AVX512BW__
#include "simd_avx512.h"
#else
#include "simd_avx2.h"
#endif

extern "C" {

struct SkLayer {
  const void* const* a;      // n_slices x (slots, 1, rank, hidden), or null: x is h already
  const void* const* b;      // n_slices x (slots, 1, width, rank)
  const int64_t* widths;     // columns of each slice
  const int64_t* ranks;      // n_slices x slots: columns of B in use, 0 where there is no adapter
  int64_t n_slices, slots, rank, hidden;
  int64_t is_bf16;
};

struct SkGroups {
  const int64_t* offsets;    // n_groups + 1
  const int64_t* slots;      // n_groups
  const int64_t* rows;       // offsets[n_groups]
  int64_t n_groups;
};
}

namespace {

constexpr int64_t kShrinkRows = 32;   // rows of one shrink task
constexpr int64_t kExpandRows = 128;  // rows of one expand task: their y lines stay in L2
constexpr int64_t kExpandCols = 2 * kLanes;
// Below this many multiply-adds (about 30 us) one thread does it all: a second one brings a few
// microseconds on an idle machine and costs a scheduler's slice, 8 ms and more, on a busy one.
constexpr double kSerialBelow = 1.2e6;

// MR rows of x times kLanes / MR rows of A, into h (rows of `h_stride` elements).
template <class T, int MR>
void shrink_tile(const typename T::Elem* const* x, const typename T::Elem* a, int64_t n,
                 int64_t n_valid, int64_t m_valid, int64_t hidden, float scale,
                 typename T::Elem* h, int64_t h_stride) {
  constexpr int NR = kLanes / MR;
  Vec acc[kLanes];
  for (int i = 0; i < kLanes; ++i) acc[i] = zero();
  const typename T::Elem* w[NR];
  for (int j = 0; j < NR; ++j) w[j] = a + (n + std::min<int64_t>(j, n_valid - 1)) * hidden;
  const int64_t words = hidden / T::kPerWord;
  for (int64_t k = 0; k < words; k += kLanes) {
    const Mask m = first(words - k);
    Words av[NR];
    for (int j = 0; j < NR; ++j)
      av[j] = load_words(m, reinterpret_cast<const int32_t*>(w[j]) + k);
    for (int i = 0; i < MR; ++i) {
      const Words xv = load_words(m, reinterpret_cast<const int32_t*>(x[i]) + k);
      for (int j = 0; j < NR; ++j) acc[i * NR + j] = T::mac(acc[i * NR + j], xv, av[j]);
    }
  }
  typename T::Elem out[kLanes];
  T::store(out, first(kLanes), scaled(sums(acc), scale));
  for (int i = 0; i < m_valid; ++i)
    std::memcpy(h + i * h_stride + n, out + i * NR, n_valid * sizeof(out[0]));
}

template <class T, int MR>
void shrink_rows(const typename T::Elem* x, int64_t x_stride, const int64_t* rows, int64_t count,
                 const typename T::Elem* a, int64_t used, int64_t hidden, float scale,
                 typename T::Elem* h, int64_t h_stride) {
  for (int64_t i = 0; i < count; i += MR) {
    const int64_t m_valid = std::min<int64_t>(MR, count - i);
    const typename T::Elem* px[MR];
    for (int j = 0; j < MR; ++j)
      px[j] = x + rows[i + std::min<int64_t>(j, m_valid - 1)] * x_stride;
    for (int64_t n = 0; n < used; n += kLanes / MR)
      shrink_tile<T, MR>(px, a, n, std::min<int64_t>(kLanes / MR, used - n), m_valid, hidden, scale,
                         h + i * h_stride, h_stride);
  }
}

// MR rows by 2 kLanes columns of y += h B^T, B transposed in `bt` as [word][2 vectors].
template <class T, int MR>
void expand_tile(typename T::Elem* const* y, Mask m0, Mask m1, const Words* bt,
                 int64_t words, const typename T::Elem* h, int64_t h_stride, bool add) {
  Vec acc[MR][2];
  for (int i = 0; i < MR; ++i) acc[i][0] = acc[i][1] = zero();
  for (int64_t k = 0; k < words; ++k) {
    const Words b0 = bt[2 * k], b1 = bt[2 * k + 1];
    for (int i = 0; i < MR; ++i) {
      const Words hv = repeat(reinterpret_cast<const int32_t*>(h + i * h_stride)[k]);
      acc[i][0] = T::mac(acc[i][0], hv, b0);
      acc[i][1] = T::mac(acc[i][1], hv, b1);
    }
  }
  for (int i = 0; i < MR; ++i) {
    if (add) {
      acc[i][0] = ::add(acc[i][0], T::load(y[i], m0));
      acc[i][1] = ::add(acc[i][1], T::load(y[i] + kLanes, m1));
    }
    T::store(y[i], m0, acc[i][0]);
    T::store(y[i] + kLanes, m1, acc[i][1]);
  }
}

template <class T>
void expand_block(typename T::Elem* y, int64_t y_stride, const int64_t* rows, int64_t count,
                  const typename T::Elem* b, int64_t col, int64_t cols, int64_t rank,
                  int64_t used, const typename T::Elem* h, int64_t h_stride, bool add,
                  Words* bt) {
  const int64_t stride = rank / T::kPerWord, words = used / T::kPerWord;
  const int32_t* base = reinterpret_cast<const int32_t*>(b + col * rank);
  for (int half = 0; half < 2; ++half) {
    for (int64_t k = 0; k < words; k += kLanes) {
      Words part[kLanes];
      const int32_t* from = base + half * kLanes * stride + k;
      transpose(from, stride, cols - half * kLanes, words - k, part);
      for (int64_t c = 0; c < std::min<int64_t>(kLanes, words - k); ++c)
        bt[2 * (k + c) + half] = part[c];
    }
  }
  const Mask m0 = first(cols), m1 = first(std::max<int64_t>(0, cols - kLanes));
  for (int64_t i = 0; i < count;) {
    typename T::Elem* py[6];
    const int64_t step = std::min<int64_t>(6, count - i);
    for (int64_t j = 0; j < step; ++j) py[j] = y + rows[i + j] * y_stride + col;
    const typename T::Elem* ph = h + i * h_stride;
    switch (step) {
      case 1: expand_tile<T, 1>(py, m0, m1, bt, words, ph, h_stride, add); break;
      case 2: expand_tile<T, 2>(py, m0, m1, bt, words, ph, h_stride, add); break;
      case 3: expand_tile<T, 3>(py, m0, m1, bt, words, ph, h_stride, add); break;
      case 4: expand_tile<T, 4>(py, m0, m1, bt, words, ph, h_stride, add); break;
      case 5: expand_tile<T, 5>(py, m0, m1, bt, words, ph, h_stride, add); break;
      default: expand_tile<T, 6>(py, m0, m1, bt, words, ph, h_stride, add); break;
    }
    i += step;
  }
}

struct Line {
  Words words;  // wrapped, since a vector of a vector type loses its alignment attribute
};

struct Task {
  int64_t group, start, stop, slice, used, col, column;  // col in the slice, column in y
};

template <class T>
void run(const SkLayer& layer, const SkGroups& groups, const void* x_, int64_t x_stride, void* y_,
         int64_t y_stride, int64_t column, float scale, bool add) {
  using E = typename T::Elem;
  const E* x = static_cast<const E*>(x_);
  E* y = static_cast<E*>(y_);
  const int64_t rank = layer.rank, n_slices = layer.n_slices;
  const int64_t total = groups.offsets[groups.n_groups], h_stride = rank * n_slices;
  static thread_local std::vector<E> h_store;
  static thread_local std::vector<Task> shrink, expand;
  if (static_cast<int64_t>(h_store.size()) < total * h_stride) h_store.resize(total * h_stride);
  shrink.clear();
  expand.clear();
  double work = 0;
  for (int64_t g = 0; g < groups.n_groups; ++g) {
    const int64_t start = groups.offsets[g], stop = groups.offsets[g + 1];
    int64_t at = column;
    for (int64_t s = 0; s < n_slices; at += layer.widths[s++]) {
      int64_t used = layer.ranks[s * layer.slots + groups.slots[g]];
      used = std::min(rank, (used + T::kPerWord - 1) / T::kPerWord * T::kPerWord);
      if (used == 0 && add) continue;
      work += static_cast<double>(stop - start) * used * (layer.hidden + layer.widths[s]);
      for (int64_t i = start; i < stop; i += kShrinkRows)
        shrink.push_back({g, i, std::min(i + kShrinkRows, stop), s, used, 0, 0});
      for (int64_t i = start; i < stop; i += kExpandRows)
        for (int64_t c = 0; c < layer.widths[s]; c += kExpandCols)
          expand.push_back({g, i, std::min(i + kExpandRows, stop), s, used, c, at});
    }
  }
  if (expand.empty()) return;
  E* h = h_store.data();
  const Task* ts = shrink.data();
  const Task* te = expand.data();
  const int64_t ns = shrink.size(), ne = expand.size();

#pragma omp parallel if (work >= kSerialBelow)
  {
    std::vector<Line> bt_store;
    Words bt_small[128];  // rank up to 128 in bf16, 64 in float32, needs no heap
    Words* bt = bt_small;
    const int64_t need = 2 * (rank / T::kPerWord);
    if (need > 128) {
      bt_store.resize(need);
      bt = &bt_store.data()->words;
    }
#pragma omp for schedule(static)
    for (int64_t t = 0; t < ns; ++t) {
      const Task& k = ts[t];
      E* out = h + k.start * h_stride + k.slice * rank;
      const int64_t count = k.stop - k.start, used = k.used;
      const int64_t* rows = groups.rows + k.start;
      if (layer.a == nullptr) {
        for (int64_t i = 0; i < count; ++i)
          std::memcpy(out + i * h_stride, x + rows[i] * x_stride, used * sizeof(E));
        continue;
      }
      const E* a = static_cast<const E*>(layer.a[k.slice]) +
                   groups.slots[k.group] * rank * layer.hidden;
      if (count == 1)
        shrink_rows<T, 1>(x, x_stride, rows, count, a, used, layer.hidden, scale, out, h_stride);
      else if (count == 2)
        shrink_rows<T, 2>(x, x_stride, rows, count, a, used, layer.hidden, scale, out, h_stride);
      else
        shrink_rows<T, 4>(x, x_stride, rows, count, a, used, layer.hidden, scale, out, h_stride);
    }
#pragma omp for schedule(static)
    for (int64_t t = 0; t < ne; ++t) {
      const Task& k = te[t];
      const int64_t width = layer.widths[k.slice];
      const E* b = static_cast<const E*>(layer.b[k.slice]) + groups.slots[k.group] * width * rank;
      expand_block<T>(y + k.column, y_stride, groups.rows + k.start, k.stop - k.start, b, k.col,
                      std::min(kExpandCols, width - k.col), rank, k.used,
                      h + k.start * h_stride + k.slice * rank, h_stride, add, bt);
    }
  }
}

}  // namespace

extern "C" {

// Into ranks[slot]: 1 + the last column of b (slots, 1, width, rank) that has a non-zero. Reads the
// first rows only where the adapter has the full rank, and everything where its slot is empty.
void sk_ranks(const void* b_, int64_t slots, int64_t width, int64_t rank, int64_t element_bytes,
              int64_t* ranks) {
  const char* b = static_cast<const char*>(b_);
  for (int64_t slot = 0; slot < slots; ++slot) {
    int64_t used = 0;
    for (int64_t row = 0; row < width && used < rank; ++row) {
      const char* p = b + (slot * width + row) * rank * element_bytes;
      int64_t last = rank * element_bytes;
      const int64_t least = used * element_bytes;
      while (last > least && p[last - 1] == 0) --last;
      used = std::max(used, (last + element_bytes - 1) / element_bytes);
    }
    ranks[slot] = used;
  }
}

// 1 when this CPU can run the code compiled here.
int64_t sk_supported() {
  __builtin_cpu_init();
  return supported();
}

void sk_grouped_lora(const SkLayer* layer, const SkGroups* groups, const void* x, int64_t x_stride,
                     void* y, int64_t y_stride, int64_t column, float scale, int64_t add) {
  if (layer->is_bf16)
    run<BF16>(*layer, *groups, x, x_stride, y, y_stride, column, scale, add != 0);
  else
    run<F32>(*layer, *groups, x, x_stride, y, y_stride, column, scale, add != 0);
}
}
