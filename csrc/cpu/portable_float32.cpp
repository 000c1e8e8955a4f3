#include "target_portable.h"

LSR_KERNELS(kPortableFloat32, float)
