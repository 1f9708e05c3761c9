// SPDX-License-Identifier: GPL-2.0
/*
 * What must be C: xtables_error is a macro for a function pointer that takes a
 * format and any number of arguments, and does not return.
 */
#include "bindings.h"

/* Ends iptables with the status for bad options and this line. */
_Noreturn void xt_dnp3_refuse(const char *line)
{
	xtables_error(PARAMETER_PROBLEM, "%s", line);
}
