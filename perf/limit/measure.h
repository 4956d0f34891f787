/* The measurements of limit, one file each. */
#ifndef CELL_LIMIT_MEASURE_H
#define CELL_LIMIT_MEASURE_H

#include "rig.h"

void pingpong(struct options *o);
void ring_rtt(struct options *o);
void stream(struct options *o);
void copy(struct options *o);

#endif
