// What a gradient scaler does to gradients: see backend/plain/scaling.py.
//
// Compiled with `real` (how numbers are stored), `wide` (how they are computed with) and `count_t`.

// grad (count), in place; inverse and found: one number each.
extern "C" __global__ void mdl_unscale(
    real* __restrict__ grad, const float* __restrict__ inverse, float* __restrict__ found,
    count_t count) {
  EACH(i, count) {
    const wide g = (wide)grad[i];
    if (!(g - g == 0)) *found = 1;  // infinity or NaN; whoever writes here, writes the same
    grad[i] = (real)(g * *inverse);
  }
}
