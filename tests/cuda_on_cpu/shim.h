// CUDA C on the CPU, so that the very text of a kernel can be run and checked without a GPU.
//
// The threads of a block are fibers: each runs until it reaches a barrier, then the next one does, so
// a barrier really separates what comes before it from what comes after. A barrier that is missing
// shows when the threads are run in another order; one that some threads never reach is an
// error here, where a GPU would hang. Not shown: races between barriers, the order of atomics, and
// speed.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include <ucontext.h>

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
// One block runs at a time, so what is static is shared by just the threads of that block.
#define __shared__ static

static dim3 threadIdx, blockIdx, blockDim, gridDim;

inline unsigned __umulhi(unsigned a, unsigned b) {
  return (unsigned)(((unsigned long long)a * b) >> 32);
}
template <class T> T atomicAdd(T* place, T value) {
  T before = *place;
  *place = before + value;
  return before;
}
typedef _Float16 __half;
// The upper half of a float, rounded to even.
struct __nv_bfloat16 {
  uint16_t bits;
  __nv_bfloat16() = default;
  __nv_bfloat16(float value) {
    uint32_t all;
    std::memcpy(&all, &value, 4);
    bits = value != value ? 0x7fc0 : (uint16_t)((all + 0x7fff + ((all >> 16) & 1)) >> 16);
  }
  operator float() const {
    const uint32_t all = (uint32_t)bits << 16;
    float value;
    std::memcpy(&value, &all, 4);
    return value;
  }
};
inline __nv_bfloat16 atomicAdd(__nv_bfloat16* place, __nv_bfloat16 value) {
  const __nv_bfloat16 before = *place;
  *place = __nv_bfloat16((float)before + (float)value);
  return before;
}
using std::max;
using std::min;

namespace shim {

enum class State { ready, waiting, done };
enum Result { ok, refused, divergent };

struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  dim3 index;
  State state;
  int line;  // of the barrier it waits at
};

static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static Fiber* running = nullptr;
static std::function<void()> body;

inline void enter() {
  body();
  running->state = State::done;
  swapcontext(&running->context, &scheduler);
}

inline void barrier(int line) {
  running->state = State::waiting;
  running->line = line;
  swapcontext(&running->context, &scheduler);
  threadIdx = running->index;
}

inline void prepare(Fiber& fiber, dim3 index) {
  fiber.index = index;
  fiber.state = State::ready;
  fiber.stack.resize(64 * 1024);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.data();
  fiber.context.uc_stack.ss_size = fiber.stack.size();
  fiber.context.uc_link = &scheduler;
  makecontext(&fiber.context, enter, 0);
}

// Whether the block came to its end with every barrier reached by all its threads.
inline bool run_block(const std::vector<size_t>& order) {
  size_t next = 0;
  for (unsigned z = 0; z < blockDim.z; z++)
    for (unsigned y = 0; y < blockDim.y; y++)
      for (unsigned x = 0; x < blockDim.x; x++) prepare(fibers[next++], dim3{x, y, z});
  for (;;) {
    for (size_t t : order) {
      running = &fibers[t];
      threadIdx = running->index;
      swapcontext(&scheduler, &running->context);
    }
    const Fiber& first = fibers[0];
    for (size_t t : order)
      if (fibers[t].state != first.state || fibers[t].line != first.line) return false;
    if (first.state == State::done) return true;
  }
}

// order: 0 threads by rising number, -1 by falling number, else shuffled with that seed.
inline Result launch(const unsigned* shape, int order, bool barriers, std::function<void()> work) {
  gridDim = dim3{shape[0], shape[1], shape[2]};
  blockDim = dim3{shape[3], shape[4], shape[5]};
  const size_t threads = (size_t)blockDim.x * blockDim.y * blockDim.z;
  if (threads == 0 || threads > 1024 || gridDim.y > 65535 || gridDim.z > 65535) return refused;
  std::vector<size_t> sequence(threads);
  std::iota(sequence.begin(), sequence.end(), 0);
  if (order < 0) std::reverse(sequence.begin(), sequence.end());
  if (order > 0) std::shuffle(sequence.begin(), sequence.end(), std::mt19937(order));
  body = std::move(work);
  if (barriers) fibers.resize(threads);
  for (blockIdx.z = 0; blockIdx.z < gridDim.z; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++) {
        if (barriers) {
          for (auto& fiber : fibers) fiber.line = 0;
          if (!run_block(sequence)) return divergent;
          continue;
        }
        for (size_t t : sequence) {
          threadIdx.x = t % blockDim.x;
          threadIdx.y = t / blockDim.x % blockDim.y;
          threadIdx.z = t / blockDim.x / blockDim.y;
          body();
        }
      }
  return ok;
}

}  // namespace shim

#define __syncthreads() shim::barrier(__LINE__)
