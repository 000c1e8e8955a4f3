// What is needed of libjpeg's binary interface, which has not changed since 1998 up to the fields named here.
// The library itself comes with Pillow or imagecodecs, without headers; `open` checks that it is what this
// file says.
#pragma once

#include <dlfcn.h>

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace lsr::slides {

constexpr int kRgb = 2, kIslow = 0;
constexpr size_t kMessageBytes = 256;

struct Decompressor;

struct ErrorManager {
  void (*error_exit)(Decompressor*);
  void (*emit_message)(Decompressor*, int level);
  void (*output_message)(Decompressor*);
  void (*format_message)(Decompressor*, char* text);  // of at most 200 bytes
  void (*reset_error_mgr)(Decompressor*);
  int msg_code;
  union {
    int i[8];
    char s[80];
  } msg_parm;
  int trace_level;
  long num_warnings;
  char rest[256];
};

struct Decompressor {
  ErrorManager* err;
  void* mem;
  void* progress;
  void* client_data;
  int is_decompressor, global_state;
  void* src;
  unsigned image_width, image_height;
  int num_components, jpeg_color_space, out_color_space;
  unsigned scale_num, scale_denom;
  double output_gamma;
  int buffered_image, raw_data_out, dct_method, do_fancy_upsampling, do_block_smoothing;
  int quantize_colors, dither_mode, two_pass_quantize, desired_number_of_colors;
  int enable_1pass_quant, enable_external_quant, enable_2pass_quant;
  unsigned output_width, output_height;
  int out_color_components, output_components, rec_outbuf_height, actual_number_of_colors;
  void* colormap;
  unsigned output_scanline;
  char rest[1024];
};

static_assert(sizeof(void*) == 8 && offsetof(ErrorManager, num_warnings) == 128);
static_assert(offsetof(Decompressor, output_gamma) == 80 && offsetof(Decompressor, output_scanline) == 168);

struct Library {
  ErrorManager* (*std_error)(ErrorManager*);
  void (*create)(Decompressor*, int version, size_t bytes);
  void (*destroy)(Decompressor*);
  void (*mem_src)(Decompressor*, const unsigned char*, unsigned long);
  int (*read_header)(Decompressor*, int require_image);
  int (*start)(Decompressor*);
  unsigned (*read_scanlines)(Decompressor*, uint8_t** rows, unsigned count);
  unsigned (*skip_scanlines)(Decompressor*, unsigned count);
  void (*crop_scanline)(Decompressor*, unsigned* x, unsigned* width);
  int (*finish)(Decompressor*);
  void (*abort)(Decompressor*);
  int version;
  size_t bytes;
};

// A decompressor with a place to go back to on errors: set `failed` before any call that may end there.
struct Session {
  Decompressor decompressor{};
  ErrorManager errors{};
  std::jmp_buf failed;
  char* message = nullptr;
  const Library& library;
  bool is_created = false;

  explicit Session(const Library& library) : library(library) {
    decompressor.err = library.std_error(&errors);
    decompressor.client_data = this;
    errors.error_exit = [](Decompressor* raised) {
      auto* session = static_cast<Session*>(raised->client_data);
      char text[kMessageBytes] = "";
      session->errors.format_message(raised, text);
      if (session->message) std::snprintf(session->message, kMessageBytes, "%s", text);
      std::longjmp(session->failed, 1);
    };
    // The first warning ends it too: pixels are right, or there are none.
    errors.emit_message = [](Decompressor* raised, int level) {
      if (level < 0) raised->err->error_exit(raised);
    };
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() {
    if (is_created) library.destroy(&decompressor);
  }

  void create() {
    library.create(&decompressor, library.version, library.bytes);
    is_created = true;
  }
};

template <typename Function>
bool find(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  return function != nullptr;
}

inline bool try_create(Session& session) {
  if (setjmp(session.failed) != 0) return false;
  session.create();
  return true;
}

// Asks the library for its version and the size of its structure: it names them when it is given others.
inline bool agree(Library& library) {
  constexpr int kAttempts = 4;
  library.version = 62;
  library.bytes = 656;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Session session(library);
    if (try_create(session)) return true;
    const int* expected_and_given = session.errors.msg_parm.i;
    if (expected_and_given[1] == library.version) {
      library.version = expected_and_given[0];
    } else if (expected_and_given[1] == static_cast<int>(library.bytes)) {
      library.bytes = static_cast<size_t>(expected_and_given[0]);
    }
    if (library.version < 62 || library.version > 80 || library.bytes > sizeof(Decompressor)) return false;
  }
  return false;
}

// Finds libjpeg-turbo behind a module that was loaded already; false if it is not there, or another.
inline bool open(const char* path, Library& library) {
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!handle) return false;
  const bool found = find(handle, "jpeg_std_error", library.std_error) &&
                     find(handle, "jpeg_CreateDecompress", library.create) &&
                     find(handle, "jpeg_destroy_decompress", library.destroy) &&
                     find(handle, "jpeg_mem_src", library.mem_src) &&
                     find(handle, "jpeg_read_header", library.read_header) &&
                     find(handle, "jpeg_start_decompress", library.start) &&
                     find(handle, "jpeg_read_scanlines", library.read_scanlines) &&
                     find(handle, "jpeg_skip_scanlines", library.skip_scanlines) &&
                     find(handle, "jpeg_crop_scanline", library.crop_scanline) &&
                     find(handle, "jpeg_finish_decompress", library.finish) &&
                     find(handle, "jpeg_abort_decompress", library.abort);
  return found && agree(library);
}

}  // namespace lsr::slides
