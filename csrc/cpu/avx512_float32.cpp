#include "target_avx512.h"

LSR_KERNELS(kAvx512Float32, float)
