@echo off
rem Double-click to set up, start or resume the training. The window stays open.
setlocal
cd /d "%~dp0"
where py >nul 2>nul && (set "PY=py -3") || (set "PY=python")
%PY% -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>nul
if errorlevel 1 (
  echo Python 3.11 or newer is needed: https://www.python.org/downloads/
  goto end
)
if not exist .venv\Scripts\python.exe (
  echo Setting up, this happens once ...
  %PY% -m venv .venv || goto failed
)
if not exist .venv\.demo (
  .venv\Scripts\python -m pip install --quiet -e ".[exoplanet,market]" || goto failed
  echo done > .venv\.demo
)
if "%~1"=="" (set "TARGET=exoplanet") else (set "TARGET=%*")
.venv\Scripts\perdure run %TARGET%
echo.
if errorlevel 1 (
  echo Stopped. Double-click again: it goes on from where it was.
) else (
  echo Complete. Results are in the exports folder of the run, below runs
)
goto end
:failed
echo Setting up failed; the message above says why. Double-click again to retry.
:end
pause
