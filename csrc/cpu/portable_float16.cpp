#include "target_portable.h"

LSR_KERNELS(kPortableFloat16, Float16)
