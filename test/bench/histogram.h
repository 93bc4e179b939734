// Latencies in nanoseconds, counted in log-linear buckets: 32 to each power of two, so a
// percentile is exact to 3 %.
#pragma once

#include <stdint.h>
#include <string.h>

enum { histogram_steps = 32, histogram_buckets = 60 * histogram_steps };

struct histogram {
    uint64_t total;
    uint64_t count[histogram_buckets];
};

static inline unsigned histogram_bucket(uint64_t value)
{
    if (value < histogram_steps)
        return (unsigned)value;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(value);
    unsigned step = (unsigned)(value >> (exponent - 5)) & (histogram_steps - 1);
    return (exponent - 4) * histogram_steps + step;
}

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->total++;
    histogram->count[histogram_bucket(value)]++;
}

static inline void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

// The lower edge of the bucket that holds the given share (0 to 1) of all values.
static inline double histogram_percentile(const struct histogram *histogram, double share)
{
    double rank = share * (double)histogram->total;
    uint64_t seen = 0;
    for (unsigned i = 0; i < histogram_buckets; i++) {
        seen += histogram->count[i];
        if ((double)seen <= rank)
            continue;
        if (i < histogram_steps)
            return i;
        unsigned exponent = i / histogram_steps + 4;
        return (double)((uint64_t)(histogram_steps + i % histogram_steps) << (exponent - 5));
    }
    return 0;
}
