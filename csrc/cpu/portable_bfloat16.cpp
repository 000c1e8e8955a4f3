#include "target_portable.h"

LSR_KERNELS(kPortableBFloat16, BFloat16)
