/* first_failure.c - the first failure among threads that work together */
#include "base/first_failure.h"

#include "base/status.h"

#include <stdio.h>

void first_failure_note(struct first_failure *first, embed_status status)
{
    int none = EMBED_OK;
    if (status != EMBED_OK && atomic_compare_exchange_strong(&first->status, &none, (int)status))
        snprintf(first->message, sizeof first->message, "%s", error_message());
}

bool first_failure_seen(struct first_failure *first)
{
    return atomic_load(&first->status) != EMBED_OK;
}

embed_status first_failure_result(struct first_failure *first)
{
    embed_status status = (embed_status)atomic_load(&first->status);
    return status == EMBED_OK ? EMBED_OK : fail(status, "%s", first->message);
}
