#include "target_avx512.h"

LSR_KERNELS(kAvx512BFloat16, BFloat16)
