// Package iso holds the standards as arithmetic: pure functions from corrected
// measurements in SI units to results with their uncertainty.
//
// Pressures are absolute and in pascal, temperatures in kelvin, mass flows in
// kg/s, volumes in m³, times in seconds, conductances in m³/(s·Pa), unless a
// name or comment says otherwise. Nothing here reads a file, a clock or a
// network; the same input gives the same output, bit for bit on one build and
// within 1e-6 relative on every platform.
//
// The formulas follow the standards named in each file as far as they are
// publicly known. What no bought copy has confirmed is a convention with a
// number (P-n); each [Method] lists those that it relies on. Results are
// "evaluated following" a standard, never a claim of conformity to it.
package iso
