// How an array lies: rows of pixels, fewer where they join.
#pragma once

#include "../lsr/pixels.h"

namespace lsr::cuda {

// An array as a grid of rows; a single row where they join, and no strides where there is nothing to stride
// over.
struct Grid {
  Grid(const Array& array, const Pixels& pixels)
      : data(array.data),
        image_stride(pixels.images == 1 ? 0 : array.image_stride),
        class_stride(pixels.classes == 1 ? 0 : array.class_stride),
        row_stride(array.row_stride),
        pixel_stride(array.pixel_stride),
        height(pixels.height),
        width(pixels.width) {
    if (width == 1) {
      width = height;
      pixel_stride = row_stride;
      height = 1;
    } else if (height == 1 || row_stride == width * pixel_stride) {
      width *= height;
      height = 1;
    }
    if (height == 1) row_stride = 0;
  }

  // Cut back into rows, as another array's grid is.
  void split(const Grid& other) {
    if (height == other.height) return;
    row_stride = other.width * pixel_stride;
    height = other.height;
    width = other.width;
  }

  // Whether every image, class and row starts at a multiple of so many elements, and consists of such.
  bool divides(int64_t elements, size_t bytes) const {
    const bool strides = image_stride % elements == 0 && row_stride % elements == 0;
    return strides && reinterpret_cast<uintptr_t>(data) % (elements * bytes) == 0;
  }

  void* data;
  int64_t image_stride, class_stride, row_stride, pixel_stride, height, width;
};

}  // namespace lsr::cuda
