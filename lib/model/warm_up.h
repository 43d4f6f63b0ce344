/* warm_up.h - runs an instance before its first request */
#ifndef LIB_MODEL_WARM_UP_H
#define LIB_MODEL_WARM_UP_H

#include "model/instance.h"

/* Runs `passes` passes. On a GPU, a pass is one text of each size that single texts are rounded
 * up to, and a full chunk. After three passes the kernels are loaded and the graphs for single
 * texts exist; requests of those sizes then allocate nothing on the device. On the CPU, where
 * nothing is loaded lazily, a pass is one short text. If the model generates, a pass on a GPU is
 * some steps for 1, 2, 4, ... documents at a time, each of which has graphs of its own; before the
 * first pass there is one run with sources of full length. On the CPU, a pass is some steps for one
 * document. */
embed_status instance_warm_up(struct embed_instance *instance, unsigned passes);

#endif
