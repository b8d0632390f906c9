/* A clock that can be wrong: preloaded into a node, it answers clock_gettime according to a control file of the harness.
 *
 * CLOCK_REALTIME jumps by `real_offset_ns`. All clocks run faster or slower by `rate_ppm` since `since_ns` of the true
 * monotonic clock; the time they gained before is in `gained_ns`, so that monotonic clocks never jump. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct control {
    uint64_t version; /* odd while it is being written */
    int64_t real_offset_ns;
    int64_t rate_ppm;
    int64_t since_ns;
    int64_t gained_ns;
};

static int (*true_clock)(clockid_t, struct timespec *);
static const volatile struct control *shared;

__attribute__((constructor)) static void start(void) {
    true_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("JEPSEN_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) shared = mapped;
}

static struct control look(void) {
    struct control seen;
    do {
        seen.version = __atomic_load_n(&shared->version, __ATOMIC_ACQUIRE);
        seen.real_offset_ns = shared->real_offset_ns;
        seen.rate_ppm = shared->rate_ppm;
        seen.since_ns = shared->since_ns;
        seen.gained_ns = shared->gained_ns;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (seen.version % 2 || seen.version != __atomic_load_n(&shared->version, __ATOMIC_RELAXED));
    return seen;
}

static int64_t nanoseconds(const struct timespec *time) {
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!true_clock) true_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = true_clock(clock, time);
    if (failed || !shared || clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID) return failed;
    struct timespec monotonic;
    true_clock(CLOCK_MONOTONIC, &monotonic);
    struct control control = look();
    int64_t now = nanoseconds(time) + control.gained_ns;
    now += (nanoseconds(&monotonic) - control.since_ns) / 1000 * control.rate_ppm / 1000;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now += control.real_offset_ns;
    time->tv_sec = now / 1000000000;
    time->tv_nsec = now % 1000000000;
    return 0;
}
