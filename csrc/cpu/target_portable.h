// Begins a translation unit of kernels for any processor: 16-byte vectors, which every 64-bit one has.
#pragma once

#define LSR_VECTOR_BYTES 16
#define LSR_END_TARGET

#include "kernels.inl"
