// Philox4x32-10 (Salmon et al. 2011): the same bits as backend/plain/random.py. A thread encrypts
// one counter and writes the four words that come of it.

struct Words {
  unsigned int v[4];
};

__device__ Words mdl_philox(unsigned long long counter, unsigned long long seed) {
  // Multipliers and key sequence: section 4.3 of the paper.
  unsigned int c0 = (unsigned int)counter, c1 = (unsigned int)(counter >> 32), c2 = 0, c3 = 0;
  unsigned int k0 = (unsigned int)seed, k1 = (unsigned int)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const unsigned int high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
    const unsigned int high2 = __umulhi(0xCD9E8D57u, c2), low2 = 0xCD9E8D57u * c2;
    c0 = high2 ^ c1 ^ k0;
    c1 = low2;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return Words{{c0, c1, c2, c3}};
}

// The counters offset, offset + 1, ...; `counters` of them, for `numbers` numbers.
extern "C" __global__ void mdl_philox_bits(
    unsigned int* __restrict__ out, unsigned long long seed, unsigned long long offset,
    long long numbers, count_t counters) {
  EACH(i, counters) {
    const Words words = mdl_philox(offset + i, seed);
    for (int k = 0; k < 4; k++)
      if (4LL * i + k < numbers) out[4LL * i + k] = words.v[k];
  }
}

// Multiples of 2^-24 in [0, 1).
extern "C" __global__ void mdl_philox_uniform(
    float* __restrict__ out, unsigned long long seed, unsigned long long offset, long long numbers,
    count_t counters) {
  EACH(i, counters) {
    const Words words = mdl_philox(offset + i, seed);
    for (int k = 0; k < 4; k++)
      if (4LL * i + k < numbers) out[4LL * i + k] = (words.v[k] >> 8) * 5.9604644775390625e-8f;
  }
}

// Whether each number is at least the threshold.
extern "C" __global__ void mdl_philox_mask(
    bool* __restrict__ out, unsigned long long seed, unsigned long long offset,
    unsigned int threshold, long long numbers, count_t counters) {
  EACH(i, counters) {
    const Words words = mdl_philox(offset + i, seed);
    for (int k = 0; k < 4; k++)
      if (4LL * i + k < numbers) out[4LL * i + k] = words.v[k] >= threshold;
  }
}
