import time

hooks = {"SetHeader": {"needs": ["nothing"]}, "Sleep": {"needs": ["nothing"]}}


def SetHeader(x):
    x.request.headers.set("X-Bench", "1")


def Sleep(x):
    time.sleep(0.010)
    x.request.headers.set("X-Bench", "1")
