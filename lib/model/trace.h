/* trace.h - one text through a model, with what each stage gives */
#ifndef LIB_MODEL_TRACE_H
#define LIB_MODEL_TRACE_H

#include "model/instance.h"

/* For embed_instance_trace, with arguments that have been checked. */
embed_status instance_trace(struct embed_instance *instance, const embed_text *text,
                            const embed_encode_options *options, embed_trace_callback traced,
                            void *user);

#endif
