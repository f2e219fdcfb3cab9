// Lets g++ use vector instructions in MLX's fused kernels.
//
// A kernel includes MLX's header of this name. g++ looks for it first in the folder
// where MLX keeps its kernels, and finds this one there.
//
// Nothing here changes a result: each number goes through the same operations, in the
// same order, each rounded by itself. AVX2 is asked for without FMA, which would round
// a product and a sum only once.

#include_next "mlx/backend/cpu/compiled_preamble.h"

#if defined(__GNUC__) && !defined(__clang__)

// Negative numbers set `errno` in C, one number at a time. No kernel reads it.
extern "C" float sqrtf(float) noexcept __attribute__((const));

namespace lucid_fn {

namespace mlx_ops = mlx::core::detail;

struct Sqrt : mlx_ops::Sqrt {
  using mlx_ops::Sqrt::operator();
  float operator()(float x) { return ::sqrtf(x); }
};

struct Rsqrt : mlx_ops::Rsqrt {
  using mlx_ops::Rsqrt::operator();
  float operator()(float x) { return 1.0f / ::sqrtf(x); }
};

// As bits: g++ would compute what follows once for each branch.
inline float chosen(bool condition, float x, float y) {
  uint32_t a, b, mask = 0u - condition;
  __builtin_memcpy(&a, &x, sizeof a);
  __builtin_memcpy(&b, &y, sizeof b);
  a = (a & mask) | (b & ~mask);
  __builtin_memcpy(&x, &a, sizeof a);
  return x;
}

struct Select : mlx_ops::Select {
  using mlx_ops::Select::operator();
  float operator()(bool condition, float x, float y) {
    return chosen(condition, x, y);
  }
};

struct Maximum : mlx_ops::Maximum {
  using mlx_ops::Maximum::operator();
  float operator()(float x, float y) {
    return chosen((x > y) | (x != x), x, y);
  }
};

struct Minimum : mlx_ops::Minimum {
  using mlx_ops::Minimum::operator();
  float operator()(float x, float y) {
    return chosen((x < y) | (x != x), x, y);
  }
};

}  // namespace lucid_fn

#define Sqrt lucid_fn::Sqrt
#define Rsqrt lucid_fn::Rsqrt
#define Maximum lucid_fn::Maximum
#define Minimum lucid_fn::Minimum
#define Select lucid_fn::Select

// An output may be the memory of an input, but then number by number: no iteration
// reads what another one writes, which g++ cannot know of a dozen pointers.
#define for _Pragma("GCC ivdep") for

// `extern "C" {` is what a kernel begins with. A pragma of its own would stand in the
// way of precompiling this header.
#define extern \
  _Pragma("GCC target(\"avx2\")") \
  _Pragma("GCC optimize(\"vect-cost-model=unlimited\")") extern

#endif
