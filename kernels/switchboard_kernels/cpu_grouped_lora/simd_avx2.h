// Vectors of 8 floats (AVX2 and FMA), in the terms that native.cpp is written in.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace {

constexpr int kLanes = 8;
using Vec = __m256;
using Words = __m256i;

struct Mask {  // the first n lanes
  int64_t n;
  __m256i lanes() const {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

Mask first(int64_t n) { return {n < kLanes ? n : kLanes}; }
Vec zero() { return _mm256_setzero_ps(); }
Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
Vec scaled(Vec a, float by) { return _mm256_mul_ps(a, _mm256_set1_ps(by)); }
Words repeat(int32_t word) { return _mm256_set1_epi32(word); }
Words load_words(Mask m, const int32_t* p) {
  return m.n == kLanes ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))
                       : _mm256_maskload_epi32(p, m.lanes());
}

// One 32-bit word holds one float or a pair of bf16; both passes run over words.
struct F32 {
  using Elem = float;
  static constexpr int kPerWord = 1;
  static Vec mac(Vec acc, Words a, Words b) {
    return _mm256_fmadd_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), acc);
  }
  static Vec load(const Elem* p, Mask m) {
    return m.n == kLanes ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, m.lanes());
  }
  static void store(Elem* p, Mask m, Vec v) {
    if (m.n == kLanes)
      _mm256_storeu_ps(p, v);
    else
      _mm256_maskstore_ps(p, m.lanes(), v);
  }
};

struct BF16 {
  using Elem = uint16_t;
  static constexpr int kPerWord = 2;
  static Vec mac(Vec acc, Words a, Words b) {
    const Words high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    acc = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),
                          _mm256_castsi256_ps(_mm256_slli_epi32(b, 16)), acc);
    return _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(a, high)),
                           _mm256_castsi256_ps(_mm256_and_si256(b, high)), acc);
  }
  static Vec load(const Elem* p, Mask m) {
    __m128i half = _mm_setzero_si128();
    if (m.n == kLanes)
      half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    else
      std::memcpy(&half, p, m.n * sizeof(Elem));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  static void store(Elem* p, Mask m, Vec v) {
    // Round to nearest even; a NaN stays one.
    const Words bits = _mm256_castps_si256(v);
    const Words odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    Words r = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    r = _mm256_srli_epi32(r, 16);
    const Words nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    r = _mm256_blendv_epi8(r, _mm256_set1_epi32(0x7fc0), nan);
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
    if (m.n == kLanes)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
    else
      std::memcpy(p, &packed, m.n * sizeof(Elem));
  }
};

// Sums of 8 vectors as the lanes of one.
Vec sums(const Vec* v) {
  const Vec low = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
  const Vec high = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
  return _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20),
                       _mm256_permute2f128_ps(low, high, 0x31));
}

// Words of 8 rows (stride in words) by up to 8 columns, transposed: out[c] has column c.
void transpose(const int32_t* p, int64_t stride, int64_t rows, int64_t cols, Words* out) {
  Words r[8], t[8];
  const Mask m = first(cols);
  for (int i = 0; i < 8; ++i)
    r[i] = i < rows ? load_words(m, p + i * stride) : _mm256_setzero_si256();
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    out[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
    out[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
  }
}

int64_t supported() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

}  // namespace
