"""Decides deliveries, {"schema", "value"} a line, by Python's jsonschema, and prints true or false for each."""
import json, sys
from jsonschema import Draft202012Validator

validators = {}
for line in sys.stdin:
    delivery = json.loads(line)
    name = delivery["schema"]
    if name not in validators:
        with open(f"{sys.argv[1]}/{name}.json", encoding="utf-8") as file:
            schema = json.load(file)
        Draft202012Validator.check_schema(schema)
        validators[name] = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    print("true" if validators[name].is_valid(json.loads(delivery["value"])) else "false")
