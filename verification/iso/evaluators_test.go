package iso_test

// isoEvaluators are the evaluators of this package's methods.
func isoEvaluators() map[string]evaluator {
	return map[string]evaluator{}
}
