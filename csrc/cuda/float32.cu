#include "dispatch.h"

template struct lsr::cuda::Launcher<float>;
