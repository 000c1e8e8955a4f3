#include "target_avx512.h"

LSR_KERNELS(kAvx512Float16, Float16)
