/* trace.h - runs one text through a model and reports the output of each stage */
#ifndef LIB_MODEL_TRACE_H
#define LIB_MODEL_TRACE_H

#include "model/instance.h"

/* Implements embed_instance_trace. The caller has checked the arguments. */
embed_status instance_trace(struct embed_instance *instance, const embed_text *text,
                            const embed_encode_options *options, embed_trace_callback traced,
                            void *user);

#endif
