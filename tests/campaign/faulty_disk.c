// Preloaded (LD_PRELOAD), it makes a disk slow or faulty: reads of files whose path contains FAULT_PATH wait for
// FAULT_DELAY_US, and every FAULT_EVERY-th fails with EIO, is interrupted, or ends after half of what was asked.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef ssize_t (*Read)(int, void*, size_t);
typedef ssize_t (*Pread)(int, void*, size_t, off_t);

static atomic_long reads;

static int is_chosen(int descriptor) {
  const char* wanted = getenv("FAULT_PATH");
  char link[64], path[4096];
  if (wanted == NULL) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strstr(path, wanted) != NULL;
}

static long number_of(const char* name) {
  const char* text = getenv(name);
  return text == NULL ? 0 : atol(text);
}

// 0: read as asked; 1: read half of it; -1: fail, with errno set.
static int fault_of(int descriptor) {
  if (!is_chosen(descriptor)) return 0;
  const long delay_us = number_of("FAULT_DELAY_US"), every = number_of("FAULT_EVERY");
  if (delay_us > 0) usleep((useconds_t)delay_us);
  if (every == 0 || atomic_fetch_add(&reads, 1) % every != every - 1) return 0;
  const char* kind = getenv("FAULT_KIND");
  if (strcmp(kind, "short") == 0) return 1;
  errno = strcmp(kind, "interrupted") == 0 ? EINTR : EIO;
  return -1;
}

static size_t half_of(size_t count) { return count > 1 ? count / 2 : count; }

ssize_t read(int descriptor, void* out, size_t count) {
  static Read next;
  if (next == NULL) next = (Read)dlsym(RTLD_NEXT, "read");
  const int fault = fault_of(descriptor);
  return fault < 0 ? -1 : next(descriptor, out, fault ? half_of(count) : count);
}

ssize_t pread(int descriptor, void* out, size_t count, off_t offset) {
  static Pread next;
  if (next == NULL) next = (Pread)dlsym(RTLD_NEXT, "pread");
  const int fault = fault_of(descriptor);
  return fault < 0 ? -1 : next(descriptor, out, fault ? half_of(count) : count, offset);
}

ssize_t pread64(int descriptor, void* out, size_t count, off_t offset) { return pread(descriptor, out, count, offset); }
