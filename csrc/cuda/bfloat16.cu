#include "dispatch.h"

template struct lsr::cuda::Launcher<lsr::cuda::BFloat16>;
