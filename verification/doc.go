// Package verification judges records: it takes a [Dataset], whatever it came
// from, maps its channels to what a method of a standard needs, converts them
// to SI, checks that the record carries the method, and gives a [Result] whose
// figures have an uncertainty, or a refusal with its reason.
//
// The arithmetic of the standards is in package iso. Here is what stands
// between a record and that arithmetic: units, gauge and absolute pressures,
// windows, missing samples, budgets of uncertainty, decisions, rounding, and
// plots. Nothing here reads files or a clock; the same input gives the same
// result.
package verification
