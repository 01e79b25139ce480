// Vectors of 16 floats (AVX-512 F, BW and VL), in the terms that native.cpp is written in.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

constexpr int kLanes = 16;
using Vec = __m512;
using Words = __m512i;
using Mask = __mmask16;

Mask first(int64_t n) { return n >= 16 ? 0xffff : static_cast<Mask>((1u << n) - 1); }
Vec zero() { return _mm512_setzero_ps(); }
Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
Vec scaled(Vec a, float by) { return _mm512_mul_ps(a, _mm512_set1_ps(by)); }
Words repeat(int32_t word) { return _mm512_set1_epi32(word); }
Words load_words(Mask m, const int32_t* p) { return _mm512_maskz_loadu_epi32(m, p); }

// One 32-bit word holds one float or a pair of bf16; both passes run over words.
struct F32 {
  using Elem = float;
  static constexpr int kPerWord = 1;
  static __m512 mac(__m512 acc, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), acc);
  }
  static __m512 load(const Elem* p, __mmask16 m) { return _mm512_maskz_loadu_ps(m, p); }
  static void store(Elem* p, __mmask16 m, __m512 v) { _mm512_mask_storeu_ps(p, m, v); }
};

struct BF16 {
  using Elem = uint16_t;
  static constexpr int kPerWord = 2;
  static __m512 mac(__m512 acc, __m512i a, __m512i b) {
#ifdef __AVX512BF16__
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
#else
    const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    acc = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(a, 16)),
                          _mm512_castsi512_ps(_mm512_slli_epi32(b, 16)), acc);
    return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(a, high)),
                           _mm512_castsi512_ps(_mm512_and_si512(b, high)), acc);
#endif
  }
  static __m512 load(const Elem* p, __mmask16 m) {
    const __m256i half = _mm256_maskz_loadu_epi16(m, p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static void store(Elem* p, __mmask16 m, __m512 v) {
#ifdef __AVX512BF16__
    _mm256_mask_storeu_epi16(p, m, (__m256i)_mm512_cvtneps_pbh(v));
#else
    // Round to nearest even; a NaN stays one.
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    r = _mm512_srli_epi32(r, 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    r = _mm512_mask_mov_epi32(r, nan, _mm512_set1_epi32(0x7fc0));
    _mm256_mask_storeu_epi16(p, m, _mm512_cvtepi32_epi16(r));
#endif
  }
};

// Sums of 16 vectors as the lanes of one.
__m512 sums(const __m512* v) {
  __m512 s[8], t[4];
  for (int i = 0; i < 8; ++i)
    s[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                         _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
  for (int i = 0; i < 4; ++i) {
    const __m512d a = _mm512_castps_pd(s[2 * i]), b = _mm512_castps_pd(s[2 * i + 1]);
    t[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  const __m512 u = _mm512_add_ps(_mm512_shuffle_f32x4(t[0], t[1], 0x88),
                                 _mm512_shuffle_f32x4(t[0], t[1], 0xdd));
  const __m512 w = _mm512_add_ps(_mm512_shuffle_f32x4(t[2], t[3], 0x88),
                                 _mm512_shuffle_f32x4(t[2], t[3], 0xdd));
  return _mm512_add_ps(_mm512_shuffle_f32x4(u, w, 0x88), _mm512_shuffle_f32x4(u, w, 0xdd));
}

// Words of 16 rows (stride in words) by up to 16 columns, transposed: out[c] has column c.
void transpose16(const int32_t* p, int64_t stride, int64_t rows, int64_t cols, __m512i* out) {
  __m512i r[16], t[16];
  const __mmask16 m = first(cols);
  for (int i = 0; i < 16; ++i)
    r[i] = i < rows ? _mm512_maskz_loadu_epi32(m, p + i * stride) : _mm512_setzero_si512();
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    out[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    out[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    out[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    out[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// The same for up to 8 columns, which is what rank 16 in bf16 has: 24 shuffles instead of 64.
void transpose8(const int32_t* p, int64_t stride, int64_t rows, int64_t cols, __m512i* out) {
  __m512i r[8], t[8];
  const __mmask8 m = static_cast<__mmask8>(first(cols));
  const auto row = [&](int64_t i) {
    return i < rows ? _mm256_maskz_loadu_epi32(m, p + i * stride) : _mm256_setzero_si256();
  };
  for (int i = 0; i < 8; ++i) {
    const int at = i < 4 ? i : i + 4;  // rows 0-3 with 4-7, rows 8-11 with 12-15
    r[i] = _mm512_inserti64x4(_mm512_castsi256_si512(row(at)), row(at + 4), 1);
  }
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    out[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    out[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
  }
}

void transpose(const int32_t* p, int64_t stride, int64_t rows, int64_t cols, Words* out) {
  if (cols > 8)
    transpose16(p, stride, rows, cols, out);
  else
    transpose8(p, stride, rows, cols, out);
}

int64_t supported() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl")
#ifdef __AVX512BF16__
         && __builtin_cpu_supports("avx512bf16")
#endif
      ;
}

}  // namespace
