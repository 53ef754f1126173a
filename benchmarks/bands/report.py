def collect(cells, name, budget): return {"rows": cells}
def text(result): 
    return "\n".join(f"{r['task']:18}{r['encoder']:14}{r['method']:18}{r['seed']} acc {r['scores']['accuracy']:5.1f} edit {r['scores']['edit']:5.1f} f1 {r['scores']['f1@50']:5.1f} ratio {r['scores']['band_ratio']:5.2f} val {r['validation']:5.1f} {r['network']['weight']} {r['knob']} {r['seconds']}" for r in result["rows"])
