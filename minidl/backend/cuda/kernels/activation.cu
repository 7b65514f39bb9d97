// Activation functions that take many passes as array operations, each in one. Formulas:
// ops/activation.py; a `_slope` is the derivative of the function of that name.
//
// Compiled with `real` (how numbers are stored), `wide` (how they are computed with) and `count_t`.

__device__ wide mdl_logistic(wide x) { return 1 / (1 + exp(-x)); }

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|): neither overflows nor loses digits. NaN stays NaN.
__device__ wide mdl_softened(wide x) { return (x < 0 ? (wide)0 : x) + log1p(exp(x < 0 ? x : -x)); }

// The distribution function of the normal law.
__device__ wide mdl_normal(wide x) { return (1 + erf(x * (wide)0.70710678118654752440)) / 2; }

extern "C" __global__ void mdl_sigmoid(
    const real* __restrict__ x, real* __restrict__ y, count_t count) {
  EACH(i, count) y[i] = (real)mdl_logistic((wide)x[i]);
}

extern "C" __global__ void mdl_gelu(
    const real* __restrict__ x, real* __restrict__ y, count_t count) {
  EACH(i, count) y[i] = (real)((wide)x[i] * mdl_normal((wide)x[i]));
}

extern "C" __global__ void mdl_gelu_slope(
    const real* __restrict__ x, real* __restrict__ y, count_t count) {
  EACH(i, count) {
    const wide v = (wide)x[i];
    const wide density = exp(v * v * (wide)-0.5) * (wide)0.39894228040143267794;  // 1 / sqrt(2 pi)
    y[i] = (real)(mdl_normal(v) + v * density);
  }
}

extern "C" __global__ void mdl_silu(
    const real* __restrict__ x, real* __restrict__ y, count_t count) {
  EACH(i, count) y[i] = (real)((wide)x[i] * mdl_logistic((wide)x[i]));
}

extern "C" __global__ void mdl_silu_slope(
    const real* __restrict__ x, real* __restrict__ y, count_t count) {
  EACH(i, count) {
    const wide v = (wide)x[i], s = mdl_logistic(v);
    y[i] = (real)(s * (1 + v * (1 - s)));
  }
}

extern "C" __global__ void mdl_softplus(
    const real* __restrict__ x, real* __restrict__ y, count_t count) {
  EACH(i, count) y[i] = (real)mdl_softened((wide)x[i]);
}

extern "C" __global__ void mdl_mish(
    const real* __restrict__ x, real* __restrict__ y, count_t count) {
  EACH(i, count) y[i] = (real)((wide)x[i] * tanh(mdl_softened((wide)x[i])));
}

extern "C" __global__ void mdl_hardswish(
    const real* __restrict__ x, real* __restrict__ y, count_t count) {
  EACH(i, count) {
    const wide v = (wide)x[i], shifted = v + 3;
    y[i] = (real)(v * (shifted < 0 ? (wide)0 : shifted > 6 ? (wide)6 : shifted) / 6);
  }
}

extern "C" __global__ void mdl_hardswish_slope(
    const real* __restrict__ x, real* __restrict__ y, count_t count) {
  EACH(i, count) {
    const wide v = (wide)x[i];
    y[i] = (real)(!(v < 3) ? (wide)1 : v > -3 ? v / 3 + (wide)0.5 : (wide)0);
  }
}
