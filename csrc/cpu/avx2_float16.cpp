#include "target_avx2.h"

LSR_KERNELS(kAvx2Float16, Float16)
