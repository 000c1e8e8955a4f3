#include "target_avx2.h"

LSR_KERNELS(kAvx2BFloat16, BFloat16)
