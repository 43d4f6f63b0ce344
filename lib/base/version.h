/* version.h - the version of embed.h as text */
#ifndef LIB_BASE_VERSION_H
#define LIB_BASE_VERSION_H

#include "embed.h"

#define VERSION_TEXT_NOW(x) #x
#define VERSION_PART(x)     VERSION_TEXT_NOW(x)

/* "0.1.0" */
#define VERSION_TEXT                                                                             \
    VERSION_PART(EMBED_VERSION_MAJOR)                                                            \
    "." VERSION_PART(EMBED_VERSION_MINOR) "." VERSION_PART(EMBED_VERSION_PATCH)

#endif
