"""From datasets to faces.csv and crops: survey, blur rule, build, audit."""
