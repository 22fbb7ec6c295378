package tables

import "maps"

// pinned are the settings that decide what a query means, or whether it may take as long and read as much as it has to.
// A server's profile or user may have any of them otherwise.
var pinned = map[string]any{
	// An insert is in its table, or has failed, when it is answered.
	"async_insert":                 0,
	"wait_for_async_insert":        1,
	"insert_null_as_default":       1,
	"input_format_null_as_default": 1,
	"optimize_on_insert":           1,
	"insert_deduplicate":           1,
	// Otherwise insert_deduplicate would decide nothing.
	"deduplicate_insert":            "backward_compatible_choice",
	"mutations_sync":                1,
	"lightweight_deletes_sync":      2,
	"distributed_foreground_insert": 1,
	"skip_unavailable_shards":       0,

	// What is absent is the zero of its type, and compared as that.
	"join_use_nulls":                            0,
	"group_by_use_nulls":                        0,
	"transform_null_in":                         0,
	"cast_keep_nullable":                        0,
	"data_type_default_nullable":                0,
	"aggregate_functions_null_for_empty":        0,
	"empty_result_for_aggregation_by_empty_set": 0,

	// Rows, names and joins are those that the query asks for.
	"final":                                   0,
	"limit":                                   0,
	"offset":                                  0,
	"extremes":                                0,
	"additional_result_filter":                "",
	"join_default_strictness":                 "ALL",
	"join_any_take_last_row":                  0,
	"any_join_distinct_right_table_keys":      0,
	"union_default_mode":                      "",
	"intersect_default_mode":                  "ALL",
	"except_default_mode":                     "ALL",
	"prefer_column_name_to_alias":             0,
	"asterisk_include_alias_columns":          0,
	"asterisk_include_materialized_columns":   0,
	"count_distinct_implementation":           "uniqExact",
	"least_greatest_legacy_null_behavior":     0,
	"decimal_check_overflow":                  1,
	"session_timezone":                        "UTC",
	"use_query_cache":                         0,
	"enable_analyzer":                         1,
	"enable_shared_storage_snapshot_in_query": 1,
	"compatibility":                           "",

	// Nothing is cut short without an error, or for being much.
	"read_overflow_mode":         "throw",
	"read_overflow_mode_leaf":    "throw",
	"group_by_overflow_mode":     "throw",
	"sort_overflow_mode":         "throw",
	"result_overflow_mode":       "throw",
	"timeout_overflow_mode":      "throw",
	"timeout_overflow_mode_leaf": "throw",
	"set_overflow_mode":          "throw",
	"join_overflow_mode":         "throw",
	"transfer_overflow_mode":     "throw",
	"distinct_overflow_mode":     "throw",
	"max_rows_to_read":           0,
	"max_bytes_to_read":          0,
	"max_rows_to_read_leaf":      0,
	"max_bytes_to_read_leaf":     0,
	"max_rows_to_group_by":       0,
	"max_rows_to_sort":           0,
	"max_bytes_to_sort":          0,
	"max_result_rows":            0,
	"max_result_bytes":           0,
	"max_execution_time":         0,
	"max_rows_in_set":            0,
	"max_bytes_in_set":           0,
	"max_rows_in_join":           0,
	"max_bytes_in_join":          0,
	"max_rows_to_transfer":       0,
	"max_bytes_to_transfer":      0,
	"max_rows_in_distinct":       0,
	"max_bytes_in_distinct":      0,
	"force_index_by_date":        0,
	"force_primary_key":          0,

	// What has a projection is read from it, however large the table.
	"optimize_use_projections":  1,
	"force_optimize_projection": 0,
}

// Settings returns what every connection to the tables sets, so that no query takes its meaning from a server's
// profile, and those that are given besides or instead. It stands here because all who connect import this package:
// programs, and the tests of every store.
func Settings(more ...map[string]any) map[string]any {
	all := maps.Clone(pinned)
	for _, m := range more {
		maps.Copy(all, m)
	}
	return all
}
