/* dynq: neural networks made of linear layers, in INT8, on CPUs. The front door: includes the rest,
 * except the headers of what has libraries of its own: foreign engines (openblas.h, onednn.h) and
 * the tokenizer (tokenizer.h, tokenizer_model.h).
 *
 * The library never prints, exits, aborts or reads the environment, and keeps no mutable globals.
 */
#ifndef DYNQ_DYNQ_H
#define DYNQ_DYNQ_H

#include <dynq/calibration.h>
#include <dynq/calibrator.h>
#include <dynq/compare.h>
#include <dynq/comparison.h>
#include <dynq/cpu.h>
#include <dynq/engine.h>
#include <dynq/format.h>
#include <dynq/graph.h>
#include <dynq/memory.h>
#include <dynq/model.h>
#include <dynq/probe.h>
#include <dynq/quantize.h>
#include <dynq/quantizer.h>
#include <dynq/safetensors.h>
#include <dynq/second_moments.h>
#include <dynq/session.h>
#include <dynq/smooth.h>
#include <dynq/status.h>
#include <dynq/tensor.h>
#include <dynq/threads.h>
#include <dynq/tune.h>
#include <dynq/version.h>

#endif
