#include "target_portable.h"

LSR_KERNELS(kPortableFloat64, double)
