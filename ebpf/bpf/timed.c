// SPDX-License-Identifier: GPL-2.0
// timed is redirect with the time of arrival before each packet that it takes to a
// socket.
#define TIMED
#include "redirect.c"
