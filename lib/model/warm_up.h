/* warm_up.h - an instance computes before the first request does */
#ifndef LIB_MODEL_WARM_UP_H
#define LIB_MODEL_WARM_UP_H

#include "model/instance.h"

/* On a GPU, so many times: a text of each size that single texts are rounded up to, and a full
 * chunk. After three passes the kernels are loaded, and the graphs that single texts need are made;
 * requests of those sizes then allocate nothing on the device. On the CPU, where nothing is loaded
 * by and by, only a short text. Where the model generates: some steps for 1, 2, 4, ... documents at a
 * time, which have graphs of their own, and once for sources of the full length; on the CPU for one. */
embed_status instance_warm_up(struct embed_instance *instance, unsigned passes);

#endif
