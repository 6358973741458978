/* The kernels at the level "plain". */
#include "native.h"

#define LEVEL_PLAIN
#define LEVEL(name) plain_##name
#include "steps.h"
