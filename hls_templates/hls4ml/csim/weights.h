// SPDX-License-Identifier: Apache-2.0
// Included first when the project is compiled for the CPU: constants are read from where the bridge says, at run time.
#ifndef BITWRIGHT_CSIM_WEIGHTS_H_
#define BITWRIGHT_CSIM_WEIGHTS_H_

const char *bitwright_weights_folder();
#define WEIGHTS_DIR bitwright_weights_folder()

#endif
