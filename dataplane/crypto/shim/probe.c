/* Preprocesses where the distribution's IPSec_MB header is installed, and nowhere else. */
#include <intel-ipsec-mb.h>
